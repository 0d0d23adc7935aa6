from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_store_processes import WORKER, kill, wait_for

from pipeline.store import Artifact, Store
from pipeline.store.gc import delete, find_garbage
from pipeline.store.locks import hold

Make = Callable[..., Artifact]


def names(store: Store, **options: float | None) -> set[str]:
    return {f"{item.kind} {item.name}" for item in find_garbage(store, **{"idle_seconds": 0, **options})}


def run(store: Store, run_id: str, *artifacts: Artifact, recipe: str = "tiny", outcome: str = "succeeded") -> None:
    store.runs.create(run_id, {"name": recipe})
    for number, artifact in enumerate(artifacts):
        store.runs.record(run_id, f"node-{number}", {"reference": artifact.reference, "status": "done"})
    store.runs.finish(run_id, outcome)


def test_only_what_no_run_refers_to_goes(store: Store, make: Make) -> None:
    used, unused = make(seed=1, text="used"), make(seed=2, text="unused")
    run(store, "first", used)
    garbage = find_garbage(store, idle_seconds=0)
    assert [item.name for item in garbage] == [unused.reference]
    assert garbage[0].bytes == sum(path.stat().st_size for path in unused.path.iterdir())
    assert unused.path.exists()
    assert delete(store, garbage, idle_seconds=0) == garbage
    assert not unused.path.exists()
    assert store.get(used.reference).content == used.content
    assert find_garbage(store, idle_seconds=0) == []
    assert not list((store.root / "discarded").iterdir())


def test_keep_runs_counts_per_recipe(store: Store, make: Make) -> None:
    old, shared, new, other = (make(seed=seed) for seed in range(4))
    run(store, "old", old, shared)
    run(store, "other", other, recipe="big")
    run(store, "new", shared, new)
    assert names(store) == set()
    assert names(store, keep_runs=2) == set()
    assert names(store, keep_runs=1) == {f"artifact {old.reference}"}
    assert len(names(store, keep_runs=0)) == 4


def test_a_run_without_outcome_keeps_its_artifacts(store: Store, make: Make) -> None:
    busy, done = make(seed=1), make(seed=2)
    run(store, "busy", busy, outcome="running")
    run(store, "done", done)
    assert names(store, keep_runs=0) == {f"artifact {done.reference}"}


def test_what_was_used_lately_stays(store: Store, make: Make) -> None:
    make()
    (store.root / "partial" / "pretrain" / "ab").mkdir(parents=True)
    assert find_garbage(store, idle_seconds=3600) == []
    assert len(find_garbage(store, idle_seconds=0)) == 2


def test_what_came_into_use_since_it_was_found_stays(store: Store, make: Make) -> None:
    artifact = make()
    os.utime(artifact.path, (1, 1))
    garbage = find_garbage(store, idle_seconds=3600)
    assert [item.name for item in garbage] == [artifact.reference]
    assert make().hit
    assert delete(store, garbage, idle_seconds=3600) == []
    assert artifact.path.exists()


def test_a_locked_artifact_stays(store: Store, make: Make) -> None:
    artifact = make()
    garbage = find_garbage(store, idle_seconds=0)
    with hold(store.lock_path("pretrain", artifact.fingerprint), "the artifact", lambda text: None):
        assert find_garbage(store, idle_seconds=0) == []
        assert delete(store, garbage, idle_seconds=0) == []
    assert delete(store, garbage, idle_seconds=0) == garbage


def test_locked_folders_stay_until_their_owner_is_dead(store: Store, root: Path, tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, str(WORKER), "step", str(root), str(tmp_path), "owner"])
    try:
        wait_for(tmp_path / "owner.started")
        (partial,) = (root / "partial" / "pretrain").iterdir()
        assert find_garbage(store, idle_seconds=0) == []
    finally:
        kill(owner)
    garbage = find_garbage(store, idle_seconds=0)
    assert [(item.kind, item.path) for item in garbage] == [("partial", partial)]
    owner = subprocess.Popen([sys.executable, str(WORKER), "step", str(root), str(tmp_path), "second"])
    try:
        wait_for(tmp_path / "second.started")
        assert delete(store, garbage, idle_seconds=0) == []
    finally:
        kill(owner)
    assert delete(store, garbage, idle_seconds=0) == garbage
    assert not partial.exists()


def test_damaged_leftovers_go(store: Store, make: Make) -> None:
    artifact = make()
    run(store, "run", artifact)
    (artifact.path / "model.txt").write_text("damaged")
    assert not make().hit
    garbage = find_garbage(store, idle_seconds=0)
    assert [item.kind for item in garbage] == ["discarded"]
    delete(store, garbage, idle_seconds=0)
    assert find_garbage(store, idle_seconds=0) == []
    assert make().hit


def test_a_broken_record_stops_collection(store: Store, make: Make) -> None:
    make()
    run(store, "run")
    (store.root / "runs" / "run.json").write_text("{")
    with pytest.raises(Exception, match="not a run record"):
        find_garbage(store, idle_seconds=0)
