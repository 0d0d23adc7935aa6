"""What a launched process tells of its step, carried as lines to the one that launched it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import errors
from pipeline.errors import TradewindError
from pipeline.progress import Progress, SilentProgress

MARK = "\x1e"  # begins a line that is one of these, and no text of a library
INTERVAL = 0.5


class LineProgress(SilentProgress):
    """Writes what it is told as lines to the standard output."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def update(self, done: float, total: float, **figures: float | str) -> None:
        """Write the report, unless the last one was just now."""
        now = time.monotonic()
        if now - self._last > INTERVAL or done >= total:
            self._last = now
            _write({"done": done, "total": total, "figures": figures})

    def say(self, text: str) -> None:
        """Write the sentence."""
        _write({"say": text})


class LineDisplay:
    """Shows nothing itself: what a step tells becomes lines."""

    @contextmanager
    def step(self, _node: str) -> Iterator[Progress]:
        """Hand out a progress that writes lines."""
        yield LineProgress()

    def finished(self, node: str, hit: bool, seconds: float, summary: str) -> None:
        """Write nothing: the launcher shows that it is done."""


def replay(line: str, progress: Progress) -> bool:
    """Tell a progress what a line carries; return whether it was one of these lines."""
    if not line.startswith(MARK):
        return False
    told = json.loads(line.removeprefix(MARK))
    if "error" in told:
        return True  # is not progress: `failure` is for the one who judges how the process ended
    if "say" in told:
        progress.say(told["say"])
    else:
        progress.update(told["done"], told["total"], **told["figures"])
    return True


def tell_failure(error: TradewindError) -> None:
    """Write what ended this process, so that its launcher can raise the same, or the nearest that it knows."""
    kind = next(kind for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
    _write({"error": kind.__name__, "text": str(error)})


def failure(line: str) -> TradewindError | None:
    """Return the error that a line carries; None when it carries none."""
    if not line.startswith(MARK):
        return None
    told = json.loads(line.removeprefix(MARK))
    if "error" not in told:
        return None
    error: TradewindError = getattr(errors, told["error"])(told["text"])
    return error


def said(text: str) -> str:
    """Return the line that carries a sentence."""
    return _line({"say": text})


def _line(message: dict[str, object]) -> str:
    return f"{MARK}{json.dumps(message)}"


def _write(message: dict[str, object]) -> None:
    try:
        sys.stdout.write(f"{_line(message)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The launcher was killed. This process is about to hear of it by SIGTERM, and has a checkpoint to save.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
