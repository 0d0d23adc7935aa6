"""The processes of a local Airflow: started apart from each other, and stopped so that none is left behind.

Each component leads a session of its own: Ctrl-C reaches only us, who know the order in which to stop, and whatever a
component forks can be found by its session, even when its parent is gone. (A signal to `airflow standalone` orphans
its children or waits for ever on a running task: measured with 3.3.2.)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

from pipeline.errors import TradewindError

SCHEDULER, API_SERVER = "scheduler", "api-server"
# Of the two with --skip-serve-logs, each would serve its logs to the whole network; the API server reads the files.
COMPONENTS = {
    API_SERVER: (),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
    SCHEDULER: ("--skip-serve-logs",),
}
TASK_SECONDS = 30.0  # for a training to save its state
EXIT_SECONDS = 15.0
POLL_SECONDS = 0.2
TAIL_LINES = 15


class Processes:
    """Starts and stops the components of one Airflow.

    Args:
        home: Path. Keeps the logs of the components and the list of their process ids.
        environment: mapping of str to str. All of their environment.
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.logs = home / "logs" / "components"
        self.list = home / "processes.json"
        self.environment = dict(environment)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, *arguments: str, stopped: Callable[[], bool]) -> None:
        """Run a command of Airflow to its end, unless it is `stopped`. Raises TradewindError when it fails."""
        process = self.start(name, *arguments)
        while process.poll() is None and not stopped():
            time.sleep(POLL_SECONDS)
        if not stopped():
            self.check(ended=(name,))
            del self.running[name]

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of Airflow in a session of its own, with its output in a log file."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running[name] = process
        self._write_list()
        return process

    def check(self, ended: Iterable[str] = ()) -> None:
        """Raise TradewindError, with the end of its log, when a component has ended, or an `ended` one has failed."""
        for name, process in self.running.items():
            code = process.poll()
            if code is None or (name in ended and code == 0):
                continue
            log = self.logs / f"{name}.log"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
            raise TradewindError(f"Airflow's {name} ended with exit code {code}; the end of {log}:\n{tail}")

    def stop(self, hurried: Callable[[], bool] = lambda: False) -> None:
        """Stop everything: tasks first, which save their state, then what serves them; nothing survives.

        Args:
            hurried: callable. Once it is true, the rest is killed.
        """
        scheduler = self.running.get(SCHEDULER)
        others = [process for name, process in self.running.items() if name != API_SERVER]
        for process in others:
            _signal(process.pid, signal.SIGTERM)
        if scheduler:
            # It waits for its tasks, so they are told too: a training saves its state, other steps start again.
            self._stop_tasks(scheduler.pid, hurried)
        _wait(others, EXIT_SECONDS, hurried)
        servers = [process for process in self.running.values() if process not in others]
        for process in servers:
            _signal(process.pid, signal.SIGTERM)
        _wait(servers, EXIT_SECONDS, hurried)
        kill(session_members({process.pid for process in self.running.values()}))
        for process in self.running.values():
            process.wait()
        self.running.clear()
        self.list.unlink(missing_ok=True)

    def _stop_tasks(self, scheduler: int, hurried: Callable[[], bool]) -> None:
        """Ask the tasks at work to stop, and kill those that do not; Airflow tries them again at the next start."""
        tasks = _tasks(scheduler)
        for task in tasks:
            _signal(task.pid, signal.SIGTERM, group=True)
        _wait_gone(tasks, TASK_SECONDS, hurried)
        for task in tasks:
            if task.is_running():
                _signal(task.pid, signal.SIGKILL, group=True)

    def _write_list(self) -> None:
        listed = {
            name: [process.pid, psutil.Process(process.pid).create_time()] for name, process in self.running.items()
        }
        self.list.write_text(json.dumps({"launcher": os.getpid(), "components": listed}))

    def left_over(self) -> list[psutil.Process]:
        """Return the processes that an earlier start has left running, because it was killed."""
        if not self.list.exists():
            return []
        components = json.loads(self.list.read_text())["components"].values()
        # A process id may be given again, but not while its session lives: a member older than that is another's.
        oldest = min((created for _, created in components), default=0.0)
        members = session_members({pid for pid, _ in components})
        return [process for process in members if process.create_time() >= oldest - 1]


def session_members(sessions: set[int]) -> list[psutil.Process]:
    """Return all living processes of some sessions."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue  # gone meanwhile, or somebody else's
    return found


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        _signal(process.pid, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=EXIT_SECONDS)


def _tasks(scheduler: int) -> list[psutil.Process]:
    """Return the task processes: below the scheduler, only they lead a process group of their own."""
    return [
        process for process in session_members({scheduler}) if process.pid not in (scheduler,) and _leads(process.pid)
    ]


def _leads(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _signal(pid: int, number: signal.Signals, group: bool = False) -> None:
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:
        return  # it has ended by itself


def _wait(processes: list[subprocess.Popen[bytes]], seconds: float, hurried: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < end and not hurried():
        time.sleep(POLL_SECONDS)


def _wait_gone(processes: list[psutil.Process], seconds: float, hurried: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while any(process.is_running() for process in processes) and time.monotonic() < end and not hurried():
        time.sleep(POLL_SECONDS)
