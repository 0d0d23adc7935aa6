"""A started `tradewind airflow`, and a user of its HTTP interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

START_SECONDS = 420
RUN_SECONDS = 1200
STOP_SECONDS = 120


class LocalAirflow:
    """One started `tradewind airflow`, and a user of its HTTP interface."""

    def __init__(self, recipes: Path, workspace: Path, **variables: str) -> None:
        self.home = workspace / "airflow"
        self.output = workspace.parent / "output.txt"
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        places = {"TRADEWIND_RECIPES": str(recipes), "TRADEWIND_WORKSPACE": str(workspace)}
        self.environment = os.environ | places | variables
        self.opener = build_opener(ProxyHandler({}))
        self.token = ""
        with self.output.open("wb") as output:
            self.process = self.command("--port", str(port), stdout=output, stderr=subprocess.STDOUT)
        wait_for(lambda: self.process.poll() is not None or "Ctrl-C stops" in self.output.read_text(), START_SECONDS)
        assert "Airflow is ready" in self.output.read_text(), self.output.read_text()
        listed = json.loads((self.home / "processes.json").read_text())
        self.sessions = {pid for pid, _ in listed["components"].values()}

    def command(self, *arguments: str, **streams: Any) -> subprocess.Popen:
        command = [sys.executable, "-m", "pipeline.cli", "airflow", *arguments]
        return subprocess.Popen(command, env=self.environment, start_new_session=True, text=True, **streams)

    def password(self) -> str:
        return json.loads((self.home / "passwords.json").read_text())["admin"]

    def log_in(self) -> None:
        password = self.password()
        assert password in self.output.read_text()
        self.token = self.ask("/auth/token", {"username": "admin", "password": password})["access_token"]

    def ask(self, path: str, body: dict | None = None, method: str | None = None) -> dict:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        data = None if body is None else json.dumps(body).encode()
        with self.opener.open(Request(self.url + path, data, headers, method=method), timeout=60) as answer:
            return json.load(answer)

    def trigger(self, conf: dict) -> str:
        return self.ask("/api/v2/dags/tiny/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]

    def wait_for_run(self, run: str) -> str:
        state = {}

        def ended() -> bool:
            state.update(self.ask(f"/api/v2/dags/tiny/dagRuns/{run}"))
            return state["state"] in ("success", "failed")

        wait_for(ended, RUN_SECONDS, told=lambda: {name: task["state"] for name, task in self.tasks(run).items()})
        return state["state"]

    def tasks(self, run: str) -> dict[str, dict]:
        found = self.ask(f"/api/v2/dags/tiny/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def log(self, run: str, task: str, attempt: int = 1) -> str:
        return json.dumps(self.ask(f"/api/v2/dags/tiny/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"))

    def has_heard_of_the_end(self, run: str, task: str, attempt: int) -> bool:
        """Whether the scheduler has been told that a process of this attempt has ended."""
        key = f"task_id='{task}', run_id='{run}', try_number={attempt},"
        log = (self.home / "logs/components/scheduler.log").read_text()
        return any("Received executor event" in line and key in line for line in log.splitlines())

    def answer(self, run: str, choice: str, given: dict) -> None:
        path = f"/api/v2/dags/tiny/dagRuns/{run}/taskInstances/model.approve/0/hitlDetails"
        self.ask(path, {"chosen_options": [choice], "params_input": given}, "PATCH")

    def clear(self, run: str, task: str) -> None:
        what = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "include_downstream": True}
        how = {"only_failed": False, "reset_dag_runs": True}
        self.ask("/api/v2/dags/tiny/clearTaskInstances", what | how)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_SECONDS)


def wait_for(
    condition: Callable[[], Any], seconds: float, interval: float = 1, told: Callable[[], Any] | None = None
) -> None:
    """Wait until the condition holds; where it does not in time, fail with what is `told` of the state."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s" + (f": {told()}" if told else "")
        time.sleep(interval)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
