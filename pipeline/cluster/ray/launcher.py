"""Runs the processes of a training on a Ray cluster: as a job of it, or on one started here for this long."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event

from pipeline.cluster.local import RETRY
from pipeline.cluster.ray.group import Spec
from pipeline.cluster.ray.job import FAULT, run_job
from pipeline.cluster.ray.jobs import Jobs
from pipeline.cluster.ray.nodes import load_ray, probe_in
from pipeline.cluster.relay import replay
from pipeline.config import Runtime
from pipeline.errors import Interrupted, TradewindError
from pipeline.progress import Progress

ROOT = Path(__file__).resolve().parents[3]
PASSED_ON = re.compile(r"(TRADEWIND|MLFLOW)_\w+")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")  # a job's environment is shown in the dashboard


def run_on_ray(command: Sequence[str], runtime: Runtime, workspace: Path, name: str, progress: Progress) -> None:
    """Run copies of a command as the processes of one training on a Ray cluster, to the end.

    Args:
        command: sequence of str. What to run, with this Python first; each node takes its own.
        runtime: Runtime. Its `ray`, `processes` and `start_seconds`.
        workspace: Path. Folder that every node must see.
        name: str. Of this work: a call with the same name goes on with the job that an earlier one has submitted.
        progress: Progress. Told what process 0 tells.

    Raises:
        Interrupted: stopped, or lost too often; the same call goes on from the last checkpoint.
        BackendError: Ray is not installed, no cluster answers, it is too small, or a node lacks this package.
        TradewindError: a process failed, or a node does not see the workspace.
    """
    address = runtime.ray.address or os.environ.get("RAY_ADDRESS", "")
    with probe_in(workspace) as probe:
        spec = Spec(
            arguments=list(command[1:]),
            processes=runtime.processes,
            cpus=runtime.ray.cpus_per_process,
            gpus=runtime.ray.gpus_per_process,
            max_failures=runtime.ray.max_failures,
            start_seconds=runtime.start_seconds,
            code=str(ROOT),
            folder=str(Path.cwd()),
            probe=str(probe),
        )
        variables = {"TRADEWIND_WORKSPACE": str(workspace.absolute())}
        if address:
            unique = hashlib.sha256(str(workspace.absolute()).encode()).hexdigest()[:6]
            _submitted(Jobs(address), spec, f"tradewind-{unique}-{name}", variables, progress)
        else:
            _here(spec, variables, progress)


def _here(spec: Spec, variables: dict[str, str], progress: Progress) -> None:
    ray = load_ray("runtime.launcher")
    mine = not ray.is_initialized()
    if mine:
        environment = {"env_vars": variables}
        ray.init(
            "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env=environment,
        )
    try:
        with _stopped_by_signals() as stop:  # after Ray, which would end this process at once
            run_job(ray, spec, partial(replay, progress=progress), stop)
    finally:
        if mine:
            ray.shutdown()


def _submitted(jobs: Jobs, spec: Spec, name: str, variables: dict[str, str], progress: Progress) -> None:
    passed_on = {key: value for key, value in os.environ.items() if PASSED_ON.fullmatch(key) and not SECRET.search(key)}
    command = [sys.executable, "-m", "pipeline.cluster.ray.job", json.dumps(asdict(spec))]
    fault = ""
    with _stopped_by_signals() as stop:
        job, there = jobs.submit(name, command, spec.code, passed_on | variables)
        progress.say(f"{'going on with' if there else 'submitted'} the Ray job {job}")
        for line in jobs.follow(job, stop):
            if line.startswith(FAULT):
                fault = json.loads(line.removeprefix(FAULT))
            else:
                replay(line, progress)
        if stop.is_set():
            progress.say(f"stopping the Ray job {job}")
            jobs.stop(job)
    status, words = jobs.end_of(job)
    if status is None or status == RETRY:
        again = "the same command goes on from the last checkpoint"
        raise Interrupted(fault or f"training ended early: the Ray job {job} is {words}; {again}")
    if status:
        raise TradewindError(fault or f"the Ray job {job} is {words}")


@contextmanager
def _stopped_by_signals() -> Iterator[Event]:
    """Yield an event that SIGTERM and Ctrl-C set; outside the main thread nobody hears them."""
    stop = Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
