"""Versions on the Hugging Face Hub, against a server on this machine that speaks its API."""

import json
from collections.abc import Iterator

import pytest
import yaml
from delivery_cases import MODEL, running
from fake_hub import FakeHub

from pipeline.delivery import deliver, deliveries_of
from pipeline.errors import DeliveryError
from pipeline.integrity import MANIFEST
from pipeline.registry import Registry

URL = "hf://clinic/organ"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    hub = FakeHub("hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with running(hub.app()) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        yield hub


def test_a_version_is_one_commit_with_a_card_and_a_tag(registry: Registry, hub: FakeHub) -> None:
    champion = registry.champion(MODEL)
    made = deliver(registry, champion, URL)
    assert made.place.endswith(f"/clinic/organ/commit/{hub.commits[0]['oid']}")
    assert hub.private == {"clinic/organ": True}
    assert hub.tags == {"v2": hub.commits[0]["oid"]}
    stored = {name: data for name, data in hub.files.items() if name not in ("README.md", ".gitattributes")}
    files = {path.relative_to(champion.bundle).as_posix(): path.read_bytes() for path in champion.bundle.rglob("*.*")}
    assert stored == files
    assert {MANIFEST, "model.keras", "reference/organ-2.json"} <= set(stored)

    _, header, card = hub.files["README.md"].decode().split("---\n", 2)
    facts = yaml.safe_load(header)
    assert (facts["library_name"], facts["license"], facts["pipeline_tag"]) == (
        *("keras", "apache-2.0", "text-classification"),
    )
    assert {"tradewind", "classification"} <= set(facts["tags"])
    metrics = facts["model-index"][0]["results"][0]["metrics"]
    assert {metric["type"]: metric["value"] for metric in metrics} == {"accuracy": 0.75, "macro_f1": 0.5}
    assert "The card of number 2." in card


def test_the_next_version_takes_its_place_and_nothing_is_sent_twice(registry: Registry, hub: FakeHub) -> None:
    deliver(registry, registry.version(MODEL, "1"), URL)
    assert "reference/organ-1.json" in hub.files
    deliver(registry, registry.champion(MODEL), URL)
    assert "reference/organ-1.json" not in hub.files
    assert [commit["summary"] for commit in hub.commits] == [f"{MODEL} version 1", f"{MODEL} version 2"]
    deliver(registry, registry.champion(MODEL), URL)
    assert len(hub.commits) == 2
    assert set(hub.tags) == {"v1", "v2"}


def test_a_refusal_leaves_the_champion_and_the_next_try_finishes(registry: Registry, hub: FakeHub) -> None:
    hub.failing = 1
    with pytest.raises(
        DeliveryError, match=r"(?s)version 2 could not be brought to hf://clinic/organ: .*disk of the hub"
    ):
        deliver(registry, registry.champion(MODEL), URL)
    assert deliveries_of(registry, MODEL) == []
    assert registry.champion(MODEL).version == "2"
    assert deliver(registry, registry.champion(MODEL), URL).version == "2"


def test_a_commit_whose_record_was_lost_is_found_again(registry: Registry, hub: FakeHub) -> None:
    made = deliver(registry, registry.champion(MODEL), URL)
    name = next(name for name in registry.champion(MODEL).tags if name.startswith("delivery."))
    registry._client.delete_model_version_tag(MODEL, "2", f"tradewind.{name}")
    again = deliver(registry, registry.champion(MODEL), URL)
    assert again.place.rpartition("/")[2] == made.place.rpartition("/")[2]


def test_a_wrong_token_is_told_without_being_shown(
    registry: Registry, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(DeliveryError) as error:
        deliver(registry, registry.champion(MODEL), URL)
    assert "401" in str(error.value)
    assert "hf_of_somebody_else" not in str(error.value)
    assert json.dumps(hub.commits) == "[]"
