"""The alias is followed, and whatever goes wrong with the registry or a new version, the old one goes on answering."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from serving_parts import SMALL, publish
from tiny_bundle import TEXTS, make_bundle

from pipeline.config import Settings
from pipeline.registry import CHAMPION, Registry, Version
from pipeline.serving.batching import Batcher
from pipeline.serving.hosted import Hosted
from pipeline.serving.metrics import Metrics
from pipeline.serving.watcher import Watcher

MODEL = "clinic-organ"
LEAST = replace(SMALL, max_batch=1, most_texts=1)  # few shapes to compile


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Two versions; the tests move the alias between them."""
    registry = Registry.for_workspace(Settings(workspace=tmp_path_factory.mktemp("workspace")))
    registry.patience = 0.05
    for seed, expected in ((0, None), (1, "1")):
        publish(registry, make_bundle(tmp_path_factory.mktemp("bundle") / f"export{seed}", seed), expected, MODEL)
    return registry


@pytest.fixture(scope="module")
def first(registry: Registry) -> Hosted:
    return load(registry.version(MODEL, "1"))


@pytest.fixture
def watcher(registry: Registry, first: Hosted) -> Watcher:
    """Of a server that answers with version 1, while the champion is version 2."""
    point(registry, "2")
    metrics = Metrics()
    return Watcher(registry, Batcher(first, LEAST, metrics), load, 0.01, metrics)


def load(version: Version) -> Hosted:
    return Hosted.load(version, CHAMPION, LEAST)


def point(registry: Registry, version: str) -> None:
    registry._client.set_registered_model_alias(MODEL, CHAMPION, version)


def look(watcher: Watcher) -> str:
    asyncio.run(watcher.look())
    return watcher.batcher.hosted.version.version


def swaps(watcher: Watcher, outcome: str) -> float | None:
    return watcher.metrics.registry.get_sample_value("tradewind_model_swaps_total", {"outcome": outcome})


def test_the_version_that_the_alias_moved_to_answers_next(watcher: Watcher, registry: Registry) -> None:
    before = watcher.batcher.hosted
    assert look(watcher) == "2"
    assert look(watcher) == "2"
    assert swaps(watcher, "done") == 1
    labels = {"model": MODEL, "version": "2", "alias": CHAMPION, "kind": "classification"}
    assert watcher.metrics.registry.get_sample_value("tradewind_model", labels) == 1
    assert watcher.batcher.hosted.describe().metrics == {"accuracy": 0.75}
    assert watcher.batcher.hosted.answer(TEXTS, None, 1) != before.answer(TEXTS, None, 1)
    point(registry, "1")
    assert look(watcher) == "1"


def test_a_version_that_does_not_load_is_left_out_and_tried_again_later(
    watcher: Watcher, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    file = registry.version(MODEL, "2").bundle / "model.keras"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[: len(whole) // 2])
        assert look(watcher) == "1"
        assert watcher.problem == "clinic-organ version 2 does not load; version 1 goes on answering"
        assert "changed: model.keras" in caplog.text
        watcher.interval = 1000.0
        asyncio.run(asyncio.sleep(0.03))
        assert look(watcher) == "1"
        assert swaps(watcher, "failed") == 2
    finally:
        file.write_bytes(whole)
    assert look(watcher) == "1", "the pause before the next try was not kept"
    assert watcher.problem
    assert watcher._refusal is not None
    watcher._refusal.again = 0.0
    assert look(watcher) == "2"
    assert watcher.problem is None


def test_files_that_are_gone_leave_the_old_version_answering(
    watcher: Watcher, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    folder = registry.version(MODEL, "2").bundle
    moved = folder.rename(folder.with_name("elsewhere"))
    try:
        assert look(watcher) == "1"
        assert "files of 'clinic-organ' version 2 are missing" in caplog.text
    finally:
        moved.rename(folder)
    assert look(watcher) == "2"


def test_a_locked_registry_is_told_and_asked_again(
    watcher: Watcher, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(registry.uri.removeprefix("sqlite:///"))) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert look(watcher) == "1"
        assert watcher.problem == "the registry cannot be asked for clinic-organ@champion"
        assert "database is locked" in caplog.text
        assert watcher.metrics.registry.get_sample_value("tradewind_registry_up") == 0
    assert look(watcher) == "2"
    assert watcher.problem is None
    assert watcher.metrics.registry.get_sample_value("tradewind_registry_up") == 1


def test_an_alias_that_is_gone_is_told(watcher: Watcher, registry: Registry) -> None:
    registry._client.delete_registered_model_alias(MODEL, CHAMPION)
    assert look(watcher) == "1"
    assert watcher.problem == "clinic-organ has no alias 'champion' any more; version 1 goes on answering"


def test_a_registry_file_that_is_damaged_is_told(
    watcher: Watcher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"\x00garbage" * 500)
    watcher.registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    assert look(watcher) == "1"
    assert "cannot be read" in caplog.text
