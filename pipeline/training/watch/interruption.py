"""SIGTERM while training: heard at once, also while the main thread waits for a device that takes its time.

Python runs signal handlers between two bytecodes of the main thread, so never inside an update of several seconds. A
second thread hears of the signal at the same moment; when the main thread does not come forward soon, it saves the
state from before the update that is under way.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.training.checkpoint import Checkpoints
from pipeline.training.snapshot import Snapshot

PATIENCE = 0.2  # seconds for the main thread to come forward


class Standby:
    """A copy of the state before an update that may outlast the patience of whoever sends SIGTERM.

    Updates that take less than `LEAST_PACE` need none. A copy that would cost more than `LARGEST_SHARE` of an update,
    because the model is large, is not made: then the last checkpoint has to do.
    """

    LEAST_PACE = 1.0  # seconds
    LARGEST_SHARE = 0.1

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._attended = threading.Event()
        self._cost = 0.0

    def hold(self, pace: float | None, take: Callable[[], Snapshot]) -> None:
        """Keep what `take` copies if an update of `pace` seconds (None: unknown) needs it and can afford it."""
        if pace is not None and (pace < self.LEAST_PACE or self._cost > self.LARGEST_SHARE * pace):
            return
        started = time.monotonic()
        snapshot = take()
        self._cost = time.monotonic() - started
        with self._lock:
            self._snapshot = snapshot

    def release(self) -> None:
        """Forget the copy: the update is done, and the main thread can save what came of it."""
        with self._lock:
            self._snapshot = None

    def attend(self) -> None:
        """Tell that the main thread has heard of the signal and saves the state itself."""
        self._attended.set()

    def rescue(self) -> None:
        """Save the copy unless the main thread attends first."""
        if self._attended.wait(PATIENCE):
            return
        with self._lock:  # so that the main thread cannot save a later state before this one
            if self._snapshot is not None:
                self.checkpoints.submit(self._snapshot)


@contextmanager
def stop_on_sigterm(rescue: Callable[[], None] | None = None) -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets; outside the main thread, where Python handles no signals, it is never set.

    Args:
        rescue: callable or None. Called once from another thread as soon as the signal arrives.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_: int, __: FrameType | None) -> None:
        stop.set()

    with _heard_by(rescue):
        previous = signal.signal(signal.SIGTERM, handle)
        try:
            yield stop
        finally:
            signal.signal(signal.SIGTERM, previous)


@contextmanager
def _heard_by(rescue: Callable[[], None] | None) -> Iterator[None]:
    """Call `rescue` in a thread of its own when SIGTERM arrives, whatever the main thread is at."""
    if rescue is None:
        yield
        return
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    previous = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)

    def listen() -> None:
        while number := os.read(receiver, 1):
            if number[0] == signal.SIGTERM:
                rescue()
                return

    listener = threading.Thread(target=listen, name="sigterm", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(sender)  # ends the listener
        listener.join()
        os.close(receiver)
