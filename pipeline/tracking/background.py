"""A sink on a thread of its own: the training neither waits for it nor dies with it."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping

from pipeline.tracking.point import Point, Sink, Status

MOST_WAITING = 10_000  # points; a sink that is so far behind has failed
FAREWELL_SECONDS = 30.0


class Background:
    """Hands points to a sink, several at a time. The first failure is said, and ends the tracking.

    Args:
        sink: Sink. Opened by its first write.
        say: callable. Told why tracking stopped.
    """

    def __init__(self, sink: Sink, say: Callable[[str], None]) -> None:
        self.sink = sink
        self._say = say
        self._points: queue.Queue[Point] = queue.Queue(MOST_WAITING)
        self._closing = threading.Event()
        self._failed = threading.Event()
        self._status: Status = "FINISHED"
        self._thread = threading.Thread(target=self._work, name=f"tracking {sink.name}", daemon=True)
        self._thread.start()

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of one report; numbers that are not finite are left out."""
        if self._failed.is_set():
            return
        finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        try:
            self._points.put_nowait(Point(step, time.time(), finite))
        except queue.Full:
            self._fail(f"{MOST_WAITING} reports wait to be sent")

    def close(self, status: Status, patience: float = FAREWELL_SECONDS) -> None:
        """Send what is left, and how training ended; give up after `patience` seconds."""
        self._status = status
        self._closing.set()
        self._thread.join(patience)
        if self._thread.is_alive():
            self._fail(f"it did not take the last figures within {patience:g} s")

    def _work(self) -> None:
        try:
            while not self._closing.wait(self.sink.interval):
                self._send()
            self._send()
            if not self._failed.is_set():
                self.sink.close(self._status)
        except Exception as error:  # whatever a server, a database or a disk may raise, the training is not its matter
            self._fail(f"{type(error).__name__}: {error}")

    def _send(self) -> None:
        points = [self._points.get_nowait() for _ in range(self._points.qsize())]
        if points and not self._failed.is_set():
            self.sink.write(points)

    def _fail(self, why: str) -> None:
        if not self._failed.is_set():
            self._failed.set()
            self._say(f"tracking with {self.sink.name} stopped: {why}. Training goes on; logs/metrics.jsonl has it all")
