"""Airflow as docker/compose.yaml deploys it: its environment, secrets and commands, without the containers."""

import importlib.util
import json
import os
import re
import signal
import sys
from datetime import datetime
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import psutil
import psycopg
import yaml
from local_airflow import START_SECONDS, LocalAirflow, wait_for
from services import Postgres, Redis, free_port

from pipeline.cli.airflow_processes import Processes, kill, session_members

PROJECT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((PROJECT / "docker" / "compose.yaml").read_text())
COMPONENTS = ("api-server", "dag-processor", "scheduler", "worker")  # the triggerer is for Ray's jobs
PASSWORD = "only-for-this-test"
# Faster than in a deployment, so that a test sees what happens when heartbeats stay away.
HASTE = {
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "1",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}


class DeployedAirflow(LocalAirflow):
    """The components of the compose file on this machine, each of which can be stopped and started again."""

    def __init__(self, recipes: Path, workspace: Path) -> None:
        self.workspace = workspace
        self.home = workspace / "airflow"
        self.home.mkdir(parents=True)
        self.token = ""
        self.opener = build_opener(ProxyHandler({}))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.recipes = recipes
        self.processes: Processes | None = None
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None

    def launch(self) -> None:
        """Start all services, and wait until they are at work."""
        secrets = self._secrets()
        self.postgres = Postgres(secrets)
        self.redis = Redis(secrets)
        self._place(secrets)
        (self.home / "passwords.json").write_text(json.dumps({"admin": PASSWORD, "viewer": PASSWORD}))
        self.processes = Processes(self.home, self._environment(secrets))
        self.processes.run("migrate", *COMPOSE["services"]["migrate"]["command"][1:], stopped=lambda: False)
        for name in COMPONENTS:
            self.start(name)
        self.wait_until_healthy()
        self.log_in()

    def _secrets(self) -> Path:
        spec = importlib.util.spec_from_file_location("make_secrets", PROJECT / "docker" / "make_secrets.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.hosts = {module.POSTGRES: "postgres", module.REDIS: "redis"}
        module.make(self.home / "secrets")
        return self.home / "secrets"

    def _place(self, secrets: Path) -> None:
        """Write where the servers are into the secrets that name the hosts of the compose file."""
        for file in secrets.iterdir():
            text = file.read_text()
            for host, name in self.hosts.items():
                text = text.replace(f"@{host}/", f"@127.0.0.1:{getattr(self, name).port}/")
            file.unlink()
            file.write_text(text)

    def _environment(self, secrets: Path) -> dict[str, str]:
        """Return the environment of the worker in the compose file, with the places of this machine."""
        places = {
            "/run/secrets": str(secrets),
            "http://api-server:8080": self.url,
            "/opt/tradewind/dags": str(PROJECT / "dags"),
            "/opt/airflow/passwords": str(self.home),
        }
        composed = COMPOSE["services"]["worker"]["environment"] | {"AIRFLOW__API__BASE_URL": self.url}
        for place, here in places.items():
            composed = {name: value.replace(place, here) for name, value in composed.items()}
        del composed["TRADEWIND_REGISTRY"]  # then it is a SQLite file of the workspace
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(free_port()),
            "PYTHONPATH": str(PROJECT),
            "TRADEWIND_RECIPES": str(self.recipes),
            "TRADEWIND_WORKSPACE": str(self.workspace),
        }
        inherited = {name: value for name, value in os.environ.items() if not re.match("AIRFLOW|TRADEWIND", name)}
        return inherited | composed | HASTE | own

    def start(self, name: str) -> None:
        """Start a component with its command in the compose file."""
        command = COMPOSE["services"][name]["command"][1:]
        if name == "api-server":
            command = ["127.0.0.1" if part == "0.0.0.0" else part for part in command]
            command[command.index("--port") + 1] = str(self.port)
        if name == "worker":
            command = [*command, "--skip-serve-logs", "--without-mingle", "--without-gossip"]
        self.processes.start(name, *command)

    def kill(self, name: str) -> None:
        """Kill all processes of a component, as a machine does that fails."""
        process = self.processes.running.pop(name)
        kill(session_members({process.pid}))
        process.wait()

    def terminate(self, name: str) -> None:
        """Ask a component's process group to end, as `docker stop` does, and wait until nothing of it is left."""
        process = self.processes.running.pop(name)
        members = session_members({process.pid})
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(90)
        _, left = psutil.wait_procs(members, timeout=90)
        assert not left

    def restart_what_ended(self) -> list[str]:
        """Start components again that have ended by themselves, as Docker does; return their names."""
        ended = [name for name, process in self.processes.running.items() if process.poll() is not None]
        for name in ended:
            self.start(name)
        return ended

    def wait_until_healthy(self) -> None:
        def healthy() -> bool:
            self.restart_what_ended()
            try:
                health = self.ask("/api/v2/monitor/health")
            except OSError:
                return False
            return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

        wait_for(healthy, START_SECONDS)

    def last_heartbeat(self, task: str) -> datetime:
        """Return when a task was last heard of."""
        address = (self.home / "secrets" / "airflow_database").read_text().replace("+psycopg", "")
        with psycopg.connect(address) as connection:
            query = "SELECT max(last_heartbeat_at) FROM task_instance WHERE task_id = %s"
            return connection.execute(query, [task]).fetchone()[0]

    def log_in(self) -> None:
        self.token = self.ask("/auth/token", {"username": "admin", "password": PASSWORD})["access_token"]

    def stop(self) -> None:
        if self.processes:
            kill(session_members({process.pid for process in self.processes.running.values()}))
            for process in self.processes.running.values():
                process.wait()
        for service in (self.redis, self.postgres):
            if service:
                service.close()


def own_python(process: psutil.Process) -> bool:
    """Return whether a process has started its Python itself, rather than to be a copy of another."""
    return process.cmdline()[0] == sys.executable and process.cmdline()[1:3] == ["-m", "pipeline.cluster.member"]
