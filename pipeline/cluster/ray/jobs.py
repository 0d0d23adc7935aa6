"""Jobs of a Ray cluster: submitting one once, following what it writes, stopping it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, TypeVar

from pipeline.cluster.local import GRACE_SECONDS, RETRY
from pipeline.cluster.ray.nodes import load_ray, reach
from pipeline.errors import BackendError, ClusterError, Interrupted, TradewindError

Result = TypeVar("Result")
ANSWER_SECONDS = 15.0  # for the dashboard's answer, once something has taken up the connection
QUIET_SECONDS = 10.0  # without a line, after which the job is asked for its status
SILENT_SECONDS = 120.0  # without any answer of the cluster, after which it counts as gone
OVERRIDING = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # Ray takes these rather than the address it is given


@dataclass(frozen=True)
class End:
    """How a job has ended.

    Attributes:
        job: str. Its id.
        status: int or None. Exit status; None when it was stopped or lost.
        words: str. Ray's words for it.
        seconds: float. From its start to its end.
        fault: str. What the job itself said went wrong.
    """

    job: str
    status: int | None
    words: str
    seconds: float = 0.0
    fault: str = ""

    def check(self) -> None:
        """Raise unless its work is done: Interrupted when another job goes on with it, else TradewindError."""
        if self.status is None or self.status == RETRY:
            again = "the same command goes on from the last checkpoint"
            raise Interrupted(self.fault or f"the Ray job {self.job} ended early and is {self.words}; {again}")
        if self.status:
            raise TradewindError(self.fault or f"the Ray job {self.job} is {self.words}")


class Jobs:
    """The jobs of one cluster.

    Args:
        address: str. Of its head: host:port, http://host:8265, ray://host:port, or auto.

    Raises:
        BackendError: Ray is not installed.
        ClusterError: no cluster with a dashboard answers within seconds.
    """

    def __init__(self, address: str) -> None:
        load_ray("runtime.launcher")
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
        self.address = address
        try:
            reach(address)
            with _without(OVERRIDING):
                self._client = _within(ANSWER_SECONDS, lambda: _client(address))
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(
                f"runtime.launcher is ray, and no Ray dashboard answers for the address {address!r}: {error}. Start "
                "the cluster (ray start --head, with pip install 'tradewind[cluster]' there), correct "
                "runtime.ray.address or RAY_ADDRESS, or leave both out to start one on this machine"
            ) from error

    def submit(self, name: str, command: list[str], code: str, variables: Mapping[str, str]) -> tuple[str, bool]:
        """Start a job unless one of this name runs; return its id, and whether it was there.

        Args:
            name: str. The same for every attempt at the same work; the id is this and the number of the attempt.
            command: list of str. What it runs; its first word is a Python that may be elsewhere on the head.
            code: str. Folder that Python looks into first, where the head has it.
            variables: mapping. Environment of all that it runs.
        """
        name = re.sub(r"[^\w.-]", "-", name)
        path = f"PYTHONPATH={shlex.quote(code)}${{PYTHONPATH:+:$PYTHONPATH}}"
        python = f"$(command -v {shlex.quote(command[0])} || command -v python3)"
        entrypoint = f'{path} exec "{python}" {shlex.join(command[1:])}'
        # What a process saves when it is stopped takes longer than the seconds that Ray gives by default.
        variables = {**variables, "RAY_JOB_STOP_WAIT_TIME_S": f"{3 * GRACE_SECONDS:.0f}"}
        for _ in range(10):
            found = ""
            try:
                attempt, running = self._newest(name)
                if running:
                    return f"{name}-{attempt}", True
                found = f"{name}-{attempt + 1}"
                environment = {"env_vars": variables}
                self._client.submit_job(entrypoint=entrypoint, submission_id=found, runtime_env=environment)
                return found, False
            except (OSError, RuntimeError) as error:
                if "already" not in str(error):  # another call has submitted it in this moment
                    raise BackendError(
                        f"the Ray cluster at {self.address} does not take the job {found or name}: {error}"
                    ) from error
        raise BackendError(f"the Ray cluster at {self.address} always has another job {name}, which ends at once")

    async def follow(self, job: str, stop: Event) -> AsyncGenerator[str]:
        """Yield the lines that a job has written and writes, until it has ended or `stop` is set.

        Raises:
            Interrupted: the cluster answers no more.
        """
        seen, heard = 0, time.monotonic()
        while not stop.is_set():
            number = 0
            try:
                async with aclosing(_lines(self._client.tail_job_logs(job), stop)) as lines:
                    async for line in lines:
                        if line is None:
                            if await self._ended(job):  # the connection may be open although nobody is at its other end
                                return
                            heard = time.monotonic()
                            continue
                        number += 1
                        if number > seen:  # a new connection begins with the first line again
                            seen, heard = number, time.monotonic()
                            yield line
                if await self._ended(job):
                    return
            except (OSError, RuntimeError) as error:
                if time.monotonic() - heard > SILENT_SECONDS:
                    raise Interrupted(
                        f"the Ray cluster at {self.address} no longer answers ({error}); run the same command again, "
                        f"which goes on with the job {job} or from the last checkpoint"
                    ) from error
            await asyncio.sleep(1)

    def ended(self, job: str) -> bool:
        """Return whether a job has ended, in whatever way."""
        return bool(self._client.get_job_status(job).is_terminal())

    async def _ended(self, job: str) -> bool:
        return await asyncio.to_thread(self.ended, job)

    def end_of(self, job: str) -> End:
        """Return how a job has ended."""
        found = self._client.get_job_info(job)
        stopped = str(found.status.value) == "STOPPED"
        seconds = ((found.end_time or 0) - (found.start_time or 0)) / 1000
        words = f"{found.status.value}: {found.message or ''}"
        return End(job, None if stopped else found.driver_exit_code, words, seconds)

    def ask_to_stop(self, job: str) -> None:
        """Ask a job to end: its processes save and end by themselves."""
        self._client.stop_job(job)

    def stop(self, job: str) -> None:
        """Ask a job to end, and wait until all that it runs has ended.

        Raises:
            Interrupted: the cluster answers no more.
        """
        try:
            self.ask_to_stop(job)
            end = time.monotonic() + 4 * GRACE_SECONDS
            while not self.ended(job) and time.monotonic() < end:
                time.sleep(0.5)
        except (OSError, RuntimeError) as error:
            raise Interrupted(
                f"the Ray cluster at {self.address} no longer answers ({error}), so the job {job} may still run; look "
                "with `ray job list`, and end it with `ray job stop`"
            ) from error

    def _newest(self, name: str) -> tuple[int, bool]:
        """Return the number of the last attempt, 0 when there is none, and whether it still runs."""
        pattern, newest, running = re.compile(rf"{re.escape(name)}-(\d+)"), 0, False
        for job in self._client.list_jobs():
            match = pattern.fullmatch(job.submission_id or "")
            if match and int(match[1]) > newest:
                newest, running = int(match[1]), not job.status.is_terminal()
        return newest, running


def _client(address: str) -> Any:
    from ray.dashboard.utils import get_address_for_submission_client
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(get_address_for_submission_client(address))


@contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _within(seconds: float, function: Callable[[], Result]) -> Result:
    """Return what a function does, or raise OSError; it is left to itself when it takes longer."""
    results: list[Result] = []
    errors: list[Exception] = []

    def call() -> None:
        try:
            results.append(function())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return results[0]


async def _lines(pieces: Any, stop: Event) -> AsyncGenerator[str | None]:
    """Yield the lines of Ray's pieces of text until `stop` is set; None when none came for a while."""
    rest, heard = "", time.monotonic()
    task: Any = None
    try:
        while not stop.is_set():
            task = task or asyncio.create_task(anext(pieces, None))
            await asyncio.wait({task}, timeout=1)
            if not task.done():
                if time.monotonic() - heard > QUIET_SECONDS:
                    heard = time.monotonic()
                    yield None
                continue
            piece, task, heard = task.result(), None, time.monotonic()
            if piece is None:
                break
            *lines, rest = (rest + piece).split("\n")
            for line in lines:
                yield line
        if rest:
            yield rest
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=1)
        await pieces.aclose()
