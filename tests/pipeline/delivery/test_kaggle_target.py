"""Versions on Kaggle, against a server on this machine that speaks its API."""

from collections.abc import Iterator

import pytest
from delivery_cases import MODEL, running
from fake_kaggle import FakeKaggle

from pipeline.delivery import deliver, deliveries_of
from pipeline.errors import DeliveryError
from pipeline.registry import Registry

URL = "kaggle://clinic/organ/keras/default"


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKaggle]:
    from kagglesdk import kaggle_env

    kaggle = FakeKaggle("k-secret")
    monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle.token)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    with running(kaggle.app()) as address:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, address)
        yield kaggle


def test_versions_are_uploaded_whole_and_once(registry: Registry, kaggle: FakeKaggle) -> None:
    for number in ("1", "2", "2"):
        version = registry.version(MODEL, number)
        made = deliver(registry, version, URL)
        assert made.place.endswith("/models/clinic/organ/keras/default")
    assert len(kaggle.versions) == 2
    files = {path.relative_to(version.bundle).as_posix(): path.read_bytes() for path in version.bundle.rglob("*.*")}
    assert kaggle.versions[1] == files
    assert kaggle.models["organ"]["isPrivate"] is True
    first, second = kaggle.bodies
    assert (first["framework"], first["instanceSlug"], first["licenseName"]) == (
        "MODEL_FRAMEWORK_KERAS",
        "default",
        "Apache 2.0",
    )
    assert second["versionNotes"] == f"{MODEL} version 2"


def test_a_refusal_leaves_the_champion_and_the_next_try_finishes(registry: Registry, kaggle: FakeKaggle) -> None:
    kaggle.failing = 1
    with pytest.raises(DeliveryError, match=r"version 2 could not be brought to kaggle://clinic/.*: no room"):
        deliver(registry, registry.champion(MODEL), URL)
    assert (deliveries_of(registry, MODEL), registry.champion(MODEL).version) == ([], "2")
    deliver(registry, registry.champion(MODEL), URL)
    assert len(kaggle.versions) == 1
