"""`tradewind airflow` as a person meets it: started for real, asked over HTTP, stopped without a trace."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import psutil
import pytest

from pipeline.cli.airflow_processes import session_members
from pipeline.config import Settings
from pipeline.registry import Registry
from pipeline.store import Store

pytestmark = pytest.mark.slow

START_SECONDS = 420
RUN_SECONDS = 1200
STOP_SECONDS = 120


class LocalAirflow:
    """One started `tradewind airflow`, and a user of its HTTP interface."""

    def __init__(self, recipes: Path, workspace: Path, port: int) -> None:
        self.home = workspace / "airflow"
        self.output = workspace.parent / "output.txt"
        self.url = f"http://127.0.0.1:{port}"
        self.environment = os.environ | {"TRADEWIND_RECIPES": str(recipes), "TRADEWIND_WORKSPACE": str(workspace)}
        self.opener = build_opener(ProxyHandler({}))
        self.token = ""
        with self.output.open("wb") as output:
            self.process = self.command("--port", str(port), stdout=output, stderr=subprocess.STDOUT)
        wait_for(lambda: self.process.poll() is not None or "Ctrl-C stops" in self.output.read_text(), START_SECONDS)
        assert "Airflow is ready" in self.output.read_text(), self.output.read_text()
        listed = json.loads((self.home / "processes.json").read_text())
        self.sessions = {pid for pid, _ in listed["components"].values()}

    def command(self, *arguments: str, **streams) -> subprocess.Popen:
        command = [sys.executable, "-m", "pipeline.cli", "airflow", *arguments]
        return subprocess.Popen(command, env=self.environment, start_new_session=True, text=True, **streams)

    def log_in(self) -> None:
        password = json.loads((self.home / "passwords.json").read_text())["admin"]
        assert password in self.output.read_text()
        self.token = self.ask("/auth/token", {"username": "admin", "password": password})["access_token"]

    def ask(self, path: str, body: dict | None = None) -> dict:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        data = None if body is None else json.dumps(body).encode()
        with self.opener.open(Request(self.url + path, data, headers), timeout=60) as answer:
            return json.load(answer)

    def trigger(self, conf: dict) -> str:
        return self.ask("/api/v2/dags/tiny/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]

    def wait_for_run(self, run: str) -> str:
        state = {}

        def ended() -> bool:
            state.update(self.ask(f"/api/v2/dags/tiny/dagRuns/{run}"))
            return state["state"] in ("success", "failed")

        wait_for(ended, RUN_SECONDS)
        return state["state"]

    def tasks(self, run: str) -> dict[str, dict]:
        found = self.ask(f"/api/v2/dags/tiny/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def log(self, run: str, task: str) -> str:
        return json.dumps(self.ask(f"/api/v2/dags/tiny/dagRuns/{run}/taskInstances/{task}/logs/1"))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_SECONDS)


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(2)


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def airflow(tiny_recipe, tmp_path, port):
    started = LocalAirflow(tiny_recipe.parent, tmp_path / "workspace", port)
    yield started
    started.stop()


def test_a_recipe_is_published_through_the_real_scheduler(airflow, tmp_path):
    with pytest.raises(HTTPError, match="401"):
        airflow.ask("/api/v2/dags")
    airflow.log_in()
    assert [dag["dag_id"] for dag in airflow.ask("/api/v2/dags")["dags"]] == ["tiny"], "no example DAGs"
    assert airflow.ask("/api/v2/importErrors")["total_entries"] == 0
    assert (airflow.home / "passwords.json").stat().st_mode & 0o777 == 0o600
    listening = {
        connection.laddr.ip
        for process in session_members(airflow.sessions)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}

    again = airflow.command("--port", "1", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert f"Airflow runs in this workspace already: {airflow.url}" in again.communicate(timeout=60)[0]
    assert again.returncode == 1

    with pytest.raises(HTTPError, match="400") as refused:
        airflow.trigger({"runtime.backend": "mxnet"})
    assert "'mxnet' is not one of" in refused.value.read().decode()

    unknown = airflow.trigger({"pretrain.step": 6})
    assert airflow.wait_for_run(unknown) == "failed"
    assert airflow.tasks(unknown)["start"]["state"] == "failed"
    assert airflow.tasks(unknown)["start"]["try_number"] == 1
    assert "received the key 'pretrain.step', did you mean" in airflow.log(unknown, "start")

    run = airflow.trigger({"pretrain.steps": 6})
    assert airflow.wait_for_run(run) == "success"
    assert airflow.tasks(run)["model.publish"]["rendered_map_index"] == "kind"
    record = Store(tmp_path / "workspace").runs.load(f"tiny-{run}")
    assert record["outcome"] == "succeeded"
    assert record["recipe"]["pretrain"]["steps"] == 6
    assert Registry.for_workspace(Settings(workspace=tmp_path / "workspace")).champion("tiny-kind") is not None

    airflow.stop()
    assert airflow.process.returncode == 0
    assert session_members(airflow.sessions) == []
    assert not (airflow.home / "processes.json").exists()
