"""A recipe's DAG whose steps are jobs of a Ray cluster of two nodes: watched without a slot, cancelled, resumed."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_airflow import LocalAirflow, wait_for

from pipeline.cluster.channel import free_port
from pipeline.config import Settings
from pipeline.registry import Registry
from pipeline.store import Store

sys.path.append(str(Path(__file__).parents[1] / "pipeline" / "cluster"))
from ray_parts import two_nodes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("aiohttp_cors") is None, reason="ray[default] is not installed"),
]
RUNTIME = "runtime: {backend: jax, launcher: ray, processes: 2, data_engine: ray, checkpoint_seconds: 1}"
LONG = {"pretrain.steps": 40_000}  # an hour, so that it does not end before it is stopped


@pytest.fixture
def airflow(tiny_recipe, tmp_path) -> Iterator[LocalAirflow]:
    text = tiny_recipe.read_text()
    assert "runtime: {backend: jax}" in text
    tiny_recipe.write_text(text.replace("runtime: {backend: jax}", RUNTIME))
    folder = tmp_path / "nodes"
    folder.mkdir()
    with two_nodes(folder, include_dashboard=True, dashboard_port=free_port()):
        started = LocalAirflow(tiny_recipe.parent, tmp_path / "workspace", RAY_ADDRESS=os.environ["RAY_ADDRESS"])
        yield started
        started.stop()


def members() -> list[psutil.Process]:
    """Return the processes that train on the cluster."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "pipeline.cluster.member" in words and "pretrain" in words:
            found.append(process)
    return found


def test_the_steps_are_jobs_that_a_deferred_task_watches_cancels_and_takes_over(airflow, tmp_path) -> None:
    airflow.log_in()
    store = Store(tmp_path / "workspace")
    run = airflow.trigger({})
    assert airflow.wait_for_run(run) == "success"
    record = store.runs.load(f"tiny-{run}")
    assert record["outcome"] == "succeeded"
    assert not any(entry["hit"] for entry in record["nodes"].values())
    assert Registry.for_workspace(Settings(workspace=tmp_path / "workspace")).champion("tiny-kind") is not None
    for task in ("preprocess", "pretrain"):
        log = airflow.log(run, task)
        assert "submitted the Ray job" in log
        assert "Trigger fired event" in log, "it was deferred"
    assert "pretrain 4/4  loss" in airflow.log(run, "pretrain"), "what the job tells is in the task's log"

    run = airflow.trigger(LONG)
    wait_for(lambda: state(airflow, run) == "deferred", 300)
    wait_for(lambda: list((tmp_path / "workspace").glob("partial/pretrain/*/checkpoints/step-*")), 300)
    first = {process.pid for process in members()}
    assert len(first) == 2
    clear(airflow, run)
    wait_for(lambda: not first & {process.pid for process in members()}, 120)
    wait_for(lambda: len(members()) == 2 and airflow.tasks(run)["pretrain"]["try_number"] == 2, 300)
    wait_for(lambda: "resuming in what an earlier attempt left" in airflow.log(run, "pretrain", 2), 120)
    second = {process.pid for process in members()}
    mark_failed(airflow, run)
    wait_for(lambda: not second & {process.pid for process in members()}, 120)
    assert airflow.wait_for_run(run) == "failed"
    assert not members()


def state(airflow: LocalAirflow, run: str) -> str | None:
    found: dict[str, Any] = airflow.tasks(run).get("pretrain", {})
    return found.get("state")


def clear(airflow: LocalAirflow, run: str) -> None:
    body = {"dry_run": False, "dag_run_id": run, "task_ids": ["pretrain"], "only_failed": False, "only_running": False}
    airflow.ask("/api/v2/dags/tiny/clearTaskInstances", body)


def mark_failed(airflow: LocalAirflow, run: str) -> None:
    airflow.ask(f"/api/v2/dags/tiny/dagRuns/{run}/taskInstances/pretrain", {"new_state": "failed"}, "PATCH")
