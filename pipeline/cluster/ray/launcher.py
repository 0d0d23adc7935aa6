"""Runs the processes of a step on a Ray cluster: as a job of it, or on one started here for this long."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event

from pipeline.cluster.ray.group import Spec
from pipeline.cluster.ray.job import FAULT, run_job
from pipeline.cluster.ray.jobs import End, Jobs
from pipeline.cluster.ray.nodes import load_ray
from pipeline.cluster.relay import replay
from pipeline.config import Runtime
from pipeline.progress import Progress

ROOT = Path(__file__).resolve().parents[3]
PASSED_ON = re.compile(r"(TRADEWIND|MLFLOW)_\w+")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")  # a job's environment is shown in the dashboard


@dataclass(frozen=True)
class Work:
    """What is to run on the cluster.

    Attributes:
        command: list of str. With this Python first; each node takes its own.
        name: str. What was submitted under the same name before, and runs, is gone on with.
        runtime: Runtime. Its `ray`, `processes` and `start_seconds`.
        workspace: Path. Folder that every node must see.
        probe: Path. A file in it that was written here.
        alone: bool. One process on the head, which gives its work to the cluster itself.
    """

    command: list[str]
    name: str
    runtime: Runtime
    workspace: Path
    probe: Path
    alone: bool = False

    @property
    def spec(self) -> Spec:
        """What the job is to run."""
        return Spec(
            arguments=self.command[1:],
            processes=0 if self.alone else self.runtime.processes,
            cpus=self.runtime.ray.cpus_per_process,
            gpus=self.runtime.ray.gpus_per_process,
            max_failures=self.runtime.ray.max_failures,
            start_seconds=self.runtime.start_seconds,
            code=str(ROOT),
            folder=str(Path.cwd()),
            probe=str(self.probe.absolute()),
        )

    @property
    def variables(self) -> dict[str, str]:
        """Environment of all its processes."""
        return {"TRADEWIND_WORKSPACE": str(self.workspace.absolute())}


@dataclass(frozen=True)
class Submitted:
    """A job that runs.

    Attributes:
        address: str. Of the cluster.
        job: str. Its id.
        there: bool. Whether an earlier call had submitted it; it may have been told to stop since.
    """

    address: str
    job: str
    there: bool


def address_of(runtime: Runtime) -> str:
    """Return the address of the cluster that the recipe or the environment names, or an empty text."""
    return runtime.ray.address or os.environ.get("RAY_ADDRESS", "")


def run_on_ray(work: Work, progress: Progress) -> None:
    """Run copies of a command as the processes of one training on a Ray cluster, to the end.

    Args:
        work: Work. What to run.
        progress: Progress. Told what process 0 tells.

    Raises:
        Interrupted: stopped, or lost too often; the same call goes on from the last checkpoint.
        BackendError: Ray is not installed, no cluster answers, it is too small, or a node lacks this package.
        TradewindError: a process failed, or a node does not see the workspace.
    """
    if not address_of(work.runtime):
        _run_here(work, progress)
        return
    jobs = Jobs(address_of(work.runtime))
    with _stopped_by_signals() as stop:
        submitted, end = _follow_one(jobs, work, progress, stop)
        while submitted.there and end.status is None and not stop.is_set():
            submitted, end = _follow_one(jobs, work, progress, stop)
    end.check()


def submit(work: Work, progress: Progress, jobs: Jobs | None = None) -> Submitted:
    """Submit the work to the cluster, unless it runs there already.

    Raises:
        BackendError: Ray is not installed, or no cluster answers.
    """
    jobs = jobs or Jobs(address_of(work.runtime))
    unique = hashlib.sha256(str(work.workspace.absolute()).encode()).hexdigest()[:6]
    passed_on = {key: value for key, value in os.environ.items() if PASSED_ON.fullmatch(key) and not SECRET.search(key)}
    command = [sys.executable, "-m", "pipeline.cluster.ray.job", json.dumps(asdict(work.spec))]
    job, there = jobs.submit(f"tradewind-{unique}-{work.name}", command, work.spec.code, passed_on | work.variables)
    progress.say(f"{'going on with' if there else 'submitted'} the Ray job {job}")
    return Submitted(jobs.address, job, there)


async def watch(jobs: Jobs, job: str, progress: Progress, stop: Event) -> End:
    """Tell what a job tells until it has ended, or `stop` is set, which leaves it alone; return how it ended.

    Raises:
        Interrupted: the cluster answers no more.
    """
    fault = ""
    async for line in jobs.follow(job, stop):
        if line.startswith(FAULT):
            fault = json.loads(line.removeprefix(FAULT))
        else:
            replay(line, progress)
    return replace(await asyncio.to_thread(jobs.end_of, job), fault=fault)


def _follow_one(jobs: Jobs, work: Work, progress: Progress, stop: Event) -> tuple[Submitted, End]:
    submitted = submit(work, progress, jobs)
    end = asyncio.run(watch(jobs, submitted.job, progress, stop))
    if stop.is_set():
        progress.say(f"stopping the Ray job {submitted.job}")
        jobs.stop(submitted.job)
        end = replace(jobs.end_of(submitted.job), fault=end.fault)
    return submitted, end


def _run_here(work: Work, progress: Progress) -> None:
    ray = load_ray("runtime.launcher")
    mine = not ray.is_initialized()
    if mine:
        environment = {"env_vars": work.variables}
        ray.init(
            "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env=environment,
        )
    try:
        with _stopped_by_signals() as stop:  # after Ray, which would end this process at once
            run_job(ray, work.spec, partial(replay, progress=progress), stop)
    finally:
        if mine:
            ray.shutdown()


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
