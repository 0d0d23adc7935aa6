"""A training in a deployed Airflow (PostgreSQL, Celery on Redis), disturbed in every way that a deployment knows.

One DAG run goes through all tests of this file, in their order: each takes up the training where the one before left
it, and the last compares what came of it with an undisturbed one.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from deployed_airflow import DeployedAirflow, own_python
from local_airflow import wait_for

from pipeline.config import Settings
from pipeline.registry import Registry
from pipeline.store import Store

sys.path.append(str(Path(__file__).parents[1] / "pipeline" / "cluster"))
from notes_recipe import weights

pytestmark = pytest.mark.slow
STEPS = 6000
RUNTIME = "runtime: {backend: jax, checkpoint_seconds: 0.3, tracking: []}"
PATIENCE = 240


class Training:
    """The pretraining of the one run, held still between two tests.

    Attributes:
        attempt: int. The try that is at work.
        process: psutil.Process or None. That trains.
    """

    def __init__(self, airflow: DeployedAirflow) -> None:
        self.airflow = airflow
        self.run = airflow.trigger({"pretrain.steps": STEPS})
        self.attempt = 0
        self.saved = 0
        self.process: psutil.Process | None = None
        self.next_attempt()

    def next_attempt(self) -> None:
        """Wait until the next try has saved more than the one before; then hold it still."""
        self.attempt += 1
        wait_for(self._find, PATIENCE, 0.05)
        assert self.task()["try_number"] == self.attempt
        if self.saved:
            wait_for(lambda: "continuing at step" in self.log(), 60)
        self.saved = self.newest()  # the one before may have saved as it ended
        self.let_save()

    def let_save(self) -> None:
        """Let it train to its next checkpoint; then hold it still, so that it does not end before it is disturbed."""
        self.process.resume()
        wait_for(lambda: self.newest() > self.saved, PATIENCE, 0.02)
        self.process.suspend()
        self.saved = self.newest()
        assert self.saved < STEPS, "it must not end before it is disturbed"

    def _find(self) -> bool:
        for process in psutil.process_iter():
            with suppress(psutil.Error, IndexError):
                mine = own_python(process) and process.environ()["TRADEWIND_WORKSPACE"] == str(self.airflow.workspace)
                if mine and process != self.process:
                    self.process = process
                    return True
        self.airflow.restart_what_ended()
        return False

    def newest(self) -> int:
        steps = self.airflow.workspace.glob("partial/pretrain/*/checkpoints/step-*")
        return max((int(step.name.removeprefix("step-")) for step in steps), default=0)

    def task(self) -> dict:
        return self.airflow.tasks(self.run)["pretrain"]

    def log(self) -> str:
        return self.airflow.log(self.run, "pretrain", self.attempt)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, tiny_recipe_in):
    recipe = tiny_recipe_in(tmp_path_factory.mktemp("recovery"))
    text = recipe.read_text()
    assert "runtime: {backend: jax}" in text
    assert "retries: 1" in text
    recipe.write_text(text.replace("runtime: {backend: jax}", RUNTIME).replace("retries: 1", "retries: 3"))
    started = DeployedAirflow(recipe.parent, recipe.parents[1] / "workspace")
    try:
        started.launch()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def training(airflow) -> Training:
    return Training(airflow)


def test_it_trains_in_a_process_of_its_own_whose_stillness_does_not_stop_the_heartbeats(airflow, training) -> None:
    task = training.process.parent()
    assert not own_python(task), "the one that Airflow has forked"
    assert task.pid != os.getpid()
    assert not any("jax" in file.path for file in task.memory_maps()), "it stays small"
    first = airflow.last_heartbeat("pretrain")
    wait_for(lambda: airflow.last_heartbeat("pretrain") > first, 60)


def test_the_database_is_killed_and_started_again(airflow, training) -> None:
    airflow.postgres.stop()
    airflow.postgres.start()
    goes_on(airflow, training)


def test_api_server_and_scheduler_are_killed_and_started_again(airflow, training) -> None:
    airflow.kill("scheduler")
    airflow.kill("api-server")
    airflow.start("api-server")
    wait_for(answers(airflow), PATIENCE)
    airflow.start("scheduler")
    goes_on(airflow, training)


def goes_on(airflow: DeployedAirflow, training: Training) -> None:
    """Check that the same try of the same process is at work once all is well, and has a checkpoint more."""
    airflow.wait_until_healthy()
    assert training.process.is_running()
    training.let_save()
    found = training.task()
    assert (found["state"], found["try_number"]) == ("running", training.attempt)


def answers(airflow: DeployedAirflow):
    def ask() -> bool:
        try:
            return bool(airflow.ask("/api/v2/monitor/health"))
        except OSError:
            return False

    return ask


def test_a_worker_that_is_told_to_stop_saves_and_another_goes_on(airflow, training) -> None:
    before = training.saved
    training.process.resume()
    airflow.terminate("worker")
    assert training.newest() > before, "a checkpoint was saved at the signal"
    training.saved = training.newest()
    airflow.start("worker")
    training.next_attempt()


def test_a_cleared_task_goes_on(airflow, training) -> None:
    clear(airflow, training, only_failed=False)
    training.process.resume()
    training.next_attempt()


def test_a_task_that_was_marked_failed_and_is_cleared_goes_on(airflow, training) -> None:
    path = f"/api/v2/dags/tiny/dagRuns/{training.run}/taskInstances/pretrain"
    airflow.ask(path, {"new_state": "failed"}, "PATCH")
    training.process.resume()
    assert airflow.wait_for_run(training.run) == "failed"
    assert not training.process.is_running()
    clear(airflow, training, only_failed=True)
    training.next_attempt()


def test_a_worker_that_is_killed_with_all_its_processes_is_replaced(airflow, training) -> None:
    airflow.kill("worker")
    assert not training.process.is_running()
    airflow.start("worker")
    training.next_attempt()


def test_what_comes_of_it_is_what_an_undisturbed_training_gives(airflow, training, tmp_path) -> None:
    training.process.resume()
    assert airflow.wait_for_run(training.run) == "success"
    assert training.task()["try_number"] == training.attempt
    disturbed = Store(airflow.workspace)
    record = disturbed.runs.load(f"tiny-{training.run}")
    assert record["outcome"] == "succeeded"
    assert Registry.for_workspace(Settings(workspace=airflow.workspace)).champion("tiny-kind") is not None

    workspace = tmp_path / "undisturbed"
    for step in ("validate", "drift", "preprocess"):
        shutil.copytree(airflow.workspace / "artifacts" / step, workspace / "artifacts" / step)
    recipe = Path(record["trigger"].partition(": ")[2])
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "step",
        "pretrain",
        str(recipe),
        "--set",
        f"pretrain.steps={STEPS}",
    ]
    subprocess.run(command, env=os.environ | {"TRADEWIND_WORKSPACE": str(workspace)}, check=True)
    found, expected = weights(airflow.workspace), weights(workspace)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    reference = record["nodes"]["pretrain"]["reference"]  # the fingerprint of either
    assert curve(disturbed.get(reference).path) == curve(Store(workspace).get(reference).path)


def clear(airflow: DeployedAirflow, training: Training, only_failed: bool) -> None:
    body = {"dry_run": False, "dag_run_id": training.run, "task_ids": ["pretrain"], "only_running": False}
    more = {"only_failed": only_failed, "include_downstream": only_failed, "reset_dag_runs": True}
    airflow.ask("/api/v2/dags/tiny/clearTaskInstances", body | more)


def curve(folder: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]
