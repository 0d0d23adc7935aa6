from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config import Recipe
from pipeline.errors import StoreError
from pipeline.store import Runs


@pytest.fixture
def runs(root: Path) -> Runs:
    return Runs(root)


def test_a_record_holds_recipe_nodes_and_outcome(runs: Runs, recipe: Recipe, root: Path) -> None:
    runs.create("run-1", recipe.model_dump(mode="json"), trigger="schedule")
    entry = {"reference": "pretrain/ab", "hit": False, "seconds": 1.5, "status": "done"}
    runs.record("run-1", "pretrain", entry)
    runs.record("run-1", "finetune.chapter", {"reference": None, "status": "failed", "error": "no rows"})
    runs.finish("run-1", "failed")
    record = json.loads((root / "runs" / "run-1.json").read_text())
    assert record == runs.load("run-1")
    assert record["recipe"] == recipe.model_dump(mode="json")
    assert (record["recipe_name"], record["trigger"], record["outcome"]) == ("tiny", "schedule", "failed")
    assert record["nodes"]["pretrain"] == entry
    assert list(record["nodes"]) == ["pretrain", "finetune.chapter"]


def test_a_retry_returns_to_its_record(runs: Runs) -> None:
    first = runs.create("run-1", {"name": "tiny", "seed": 1})
    runs.record("run-1", "validate", {"reference": "validate/ab", "status": "done"})
    runs.finish("run-1", "failed")
    again = runs.create("run-1", {"seed": 1, "name": "tiny"})
    assert again["created"] == first["created"]
    assert again["outcome"] == "running"
    assert list(again["nodes"]) == ["validate"]
    with pytest.raises(StoreError, match="other recipe values"):
        runs.create("run-1", {"name": "tiny", "seed": 2})
    assert runs.load("run-1") == again


def test_newest_first(runs: Runs) -> None:
    for run_id in ("b", "c", "a"):
        runs.create(run_id, {"name": "tiny"})
    assert [record["run_id"] for record in runs.list()] == ["a", "c", "b"]


def test_runs_of_an_artifact(runs: Runs) -> None:
    for run_id in ("one", "two", "three"):
        runs.create(run_id, {"name": "tiny"})
    runs.record("one", "pretrain", {"reference": "pretrain/ab"})
    runs.record("three", "pretrain", {"reference": "pretrain/ab"})
    runs.record("two", "pretrain", {"reference": "pretrain/cd"})
    assert [record["run_id"] for record in runs.of("pretrain/ab")] == ["three", "one"]


def test_unknown_run_is_an_error(runs: Runs) -> None:
    for act in (
        lambda: runs.load("no-such"),
        lambda: runs.record("no-such", "pretrain", {}),
        lambda: runs.finish("no-such", "failed"),
    ):
        with pytest.raises(StoreError, match="no run no-such"):
            act()


@pytest.mark.parametrize("run_id", ["", "../up", ".hidden", "a/b", "a b", "x" * 201])
def test_a_run_id_that_cannot_name_a_file_is_refused(runs: Runs, run_id: str) -> None:
    with pytest.raises(StoreError, match="cannot be a run id"):
        runs.create(run_id, {"name": "tiny"})


def test_an_airflow_run_id_is_accepted(runs: Runs) -> None:
    run_id = "scheduled__2026-04-01T00:00:00.123456+00:00"
    runs.create(run_id, {"name": "tiny"})
    assert runs.load(run_id)["run_id"] == run_id


def test_an_entry_that_is_not_json_changes_nothing(runs: Runs) -> None:
    before = runs.create("run", {"name": "tiny"})
    with pytest.raises(StoreError, match="not plain JSON"):
        runs.record("run", "pretrain", {"path": Path("x")})
    assert runs.load("run") == before


def test_a_broken_record_is_named(runs: Runs, root: Path) -> None:
    runs.create("run", {"name": "tiny"})
    (root / "runs" / "run.json").write_text("{")
    with pytest.raises(StoreError, match=r"run\.json is not a run record"):
        runs.list()
