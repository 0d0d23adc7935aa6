"""Starts the processes of a training on this machine, and looks after them as torchrun does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from pipeline.cluster.channel import free_port
from pipeline.cluster.place import COORDINATOR, NUM_PROCESSES, PROCESS_ID
from pipeline.cluster.relay import failure, replay
from pipeline.errors import Interrupted, TradewindError
from pipeline.progress import Progress
from pipeline.training.hardware import accelerators

RETRY = 75
KEPT_LINES = 40  # so that a traceback shows what of ours was at work
GRACE_SECONDS = 30.0  # for the others to save and end, once one has ended
POLL_SECONDS = 0.1


def run_processes(command: Sequence[str], processes: int, environment: Mapping[str, str], progress: Progress) -> None:
    """Run copies of a command as the processes of one training, to the end.

    Each gets an equal share of the processor's cores, or of the accelerators. When one ends badly, the others are
    ended, and their lines have told why. SIGTERM is passed on to all.

    Args:
        command: sequence of str. What to run.
        processes: int. How many.
        environment: mapping. What they get beside their place.
        progress: Progress. Told what process 0 tells; the lines of one that fails come into the error.

    Raises:
        Interrupted: they were stopped, or one was killed; the same call goes on where they stopped.
        TradewindError: one of them failed: the error that ended it, or its last lines.
    """
    coordinator = f"127.0.0.1:{free_port()}"
    place = {NUM_PROCESSES: str(processes), COORDINATOR: coordinator}
    children = [
        subprocess.Popen(
            command,
            env={**environment, **place, PROCESS_ID: str(index), **_devices(index, processes)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=_prepared(index, processes),
        )
        for index in range(processes)
    ]
    written = [Written() for _ in children]
    readers = [
        threading.Thread(target=lines.read, args=(child.stdout, progress), daemon=True)
        for child, lines in zip(children, written, strict=True)
    ]
    for reader in readers:
        reader.start()
    with _signals_passed_on(children) as stopped:
        statuses = _wait(children)
    for reader in readers:
        reader.join(GRACE_SECONDS)
    _judge(statuses, written, bool(stopped))


class Written:
    """What a process has written, as far as it is no progress.

    Attributes:
        lines: deque of str. The last ones.
        error: TradewindError or None. What ended it.
    """

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.error: TradewindError | None = None

    def read(self, stream: IO[str] | None, progress: Progress) -> None:
        """Read to the end, telling progress what is for it."""
        assert stream is not None
        for line in stream:
            if (text := line.rstrip()) and not replay(text, progress):
                self.lines.append(text)
            self.error = failure(text) or self.error


def _wait(children: list[subprocess.Popen[str]]) -> list[int]:
    """Return the exit statuses; after the first bad one, or long after the first good one, the others are ended."""
    end: float | None = None
    while any(child.poll() is None for child in children):
        time.sleep(POLL_SECONDS)
        if end is None and any(child.poll() for child in children):
            end = time.monotonic() + GRACE_SECONDS
            asked = all(child.poll() in (None, 0, RETRY) for child in children)  # then all of them end by themselves
            if not asked:
                _signal(children, signal.SIGTERM)
        if end is not None and time.monotonic() > end:
            _signal(children, signal.SIGKILL)
    return [child.wait() for child in children]


def _judge(statuses: list[int], written: list[Written], stopped: bool) -> None:
    if not any(statuses):
        return
    numbered = [(index, status) for index, status in enumerate(statuses) if status]
    told = ", ".join(f"process {index} with {named(status)}" for index, status in numbered)
    failed = [index for index, status in numbered if status > 0 and status != RETRY]
    if stopped or not failed:
        raise Interrupted(f"training ended early: {told}; the same command goes on from the last checkpoint")
    if error := written[failed[0]].error:
        raise error
    lines = "\n".join(written[failed[0]].lines)
    raise TradewindError(f"training failed: {told}. Process {failed[0]} wrote last:\n{lines}")


def named(status: int) -> str:
    """Return an exit status in words: the signal, where one ended the process."""
    return f"status {status}" if status > 0 else signal.Signals(-status).name


@contextmanager
def _signals_passed_on(children: list[subprocess.Popen[str]]) -> Iterator[list[int]]:
    """Yield a list that fills with the signals heard; outside the main thread none are."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return

    def handle(number: int, _: object) -> None:
        heard.append(number)
        _signal(children, signal.SIGTERM)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield heard
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _signal(children, signal.SIGKILL)


def _signal(children: list[subprocess.Popen[str]], number: signal.Signals) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _prepared(index: int, processes: int) -> Callable[[], None]:
    """Return what a child does before it begins: take its cores, end with its parent, and leave Ctrl-C to it."""
    parent = os.getpid()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = cores[index * len(cores) // processes : (index + 1) * len(cores) // processes]

    def prepare() -> None:
        os.setpgrp()
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(RETRY)
        if share and not accelerators():
            os.sched_setaffinity(0, share)

    return prepare


def _devices(index: int, processes: int) -> dict[str, str]:
    """Return the variables that give a process its share of the GPUs."""
    number = len(accelerators())
    if processes == 1 or number < processes:
        return {}
    share = range(index * number // processes, (index + 1) * number // processes)
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, share))}
