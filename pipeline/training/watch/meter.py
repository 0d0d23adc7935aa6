"""The chronometer of a training, and the figures of its updates since the last report."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, replace

from pipeline.training.position import HISTORY, Figures, Position
from pipeline.training.steppers import Update

WINDOWS = 50  # timed reports whose pace is remembered


@dataclass(frozen=True)
class Cost:
    """What an update computes, and what the device could at most; either may be unknown.

    Attributes:
        flops_per_token: float or None. Forward and backward pass.
        peak: float or None. Floating-point operations per second of the device.
    """

    flops_per_token: float | None = None
    peak: float | None = None

    def utilization(self, tokens_per_second: float) -> float | None:
        """Return the model FLOPs utilization: flops_per_token * tokens_per_second / peak.

        What is computed again, such as activations that were not kept, counts once (Chowdhery 2022, arXiv 2204.02311,
        appendix B).
        """
        if not self.flops_per_token or not self.peak:
            return None
        return self.flops_per_token * tokens_per_second / self.peak


class Meter:
    """Times the updates and sums them up.

    Reports lie at fixed steps and the figures of an open window go into the checkpoint, so an interrupted training logs
    the very figures of an uninterrupted one. Reading figures waits for the device, so it is done rarely.

    Args:
        position: Position. Where training starts.
        cost: Cost. For the utilization.

    Attributes:
        window: list of Figures. Of the updates since the last report that have been read.
        pace: float or None. Seconds per update, when last read; None when no update has been timed.
    """

    def __init__(self, position: Position, cost: Cost) -> None:
        self.cost = cost
        self.pace: float | None = None
        self.paces: deque[float] = deque(maxlen=WINDOWS)
        self.move(position)

    def move(self, position: Position) -> None:
        """Go on from `position`, forgetting the updates since."""
        self._base = position
        self.seconds, self.tokens = position.seconds, position.tokens
        self.window = list(position.window)
        self._open_seconds, self._open_tokens, self._open_updates = 0.0, 0, 0
        self.restart()

    def restart(self) -> None:
        """Leave out the time since the last reading."""
        self.pending: list[Update] = []
        self._started = time.monotonic()

    def add(self, update: Update) -> None:
        """Take in one update."""
        self.pending.append(update)

    def settle(self, timed: bool = True) -> None:
        """Wait for the updates taken in and read them; `timed=False` leaves them out of speed and chronometer."""
        read = [Figures(*(float(value) for value in update)) for update in self.pending]
        self.window += read
        seconds = time.monotonic() - self._started
        if timed and self.pending:
            self.seconds += seconds
            tokens = int(sum(figures.tokens for figures in read))
            self.tokens += tokens
            self._open_seconds += seconds
            self._open_tokens += tokens
            self._open_updates += len(self.pending)
            self.pace = seconds / len(self.pending)
        self.restart()

    def losses(self) -> list[float]:
        """Return the mean losses of the last updates that have been read, oldest first."""
        return [*self._base.history, *(figures.mean_loss for figures in self.window)]

    def position(self, step: int) -> Position:
        """Return where training stands after `step` updates, all of which have been read."""
        return replace(self._base, step=step, seconds=self.seconds, tokens=self.tokens, window=tuple(self.window))

    def close(self, step: int, total: int) -> dict[str, float]:
        """Return the figures of the updates since the last report, which ends here, and the time left.

        Updates whose loss is not finite are left out: under float16 the optimizer left them out too.
        """
        counted = [figures for figures in self.window if math.isfinite(figures.loss)]
        weight = max(sum(figures.weight for figures in counted), 1.0)
        line: dict[str, float] = {}
        if counted:
            line["loss"] = sum(figures.loss for figures in counted) / weight
            line["accuracy"] = sum(figures.correct for figures in counted) / weight
        norms = [figures.gradient_norm for figures in counted if math.isfinite(figures.gradient_norm)]
        if norms:
            line["gradient_norm"] = sum(norms) / len(norms)
        line |= self._speed(total - step)
        self._base = replace(
            self._base,
            loss=line.get("loss", self._base.loss),
            accuracy=line.get("accuracy", self._base.accuracy),
            history=tuple(self.losses()[-HISTORY:]),
        )
        self.window = []
        self._open_seconds, self._open_tokens, self._open_updates = 0.0, 0, 0
        return line

    def progressed(self, step: int) -> None:
        """Forget the rollbacks when `step` lies past their trouble."""
        if step > self._base.trouble:
            self._base = replace(self._base, rollbacks=0)

    def _speed(self, updates_left: int) -> dict[str, float]:
        if not self._open_updates or not self._open_seconds:
            return {}
        self.paces.append(self._open_seconds / self._open_updates)
        speed = self._open_tokens / self._open_seconds
        line = {"tokens_per_second": float(round(speed))}
        utilization = self.cost.utilization(speed)
        if utilization is not None:
            line["model_flops_utilization"] = round(utilization, 4)
        recent = list(self.paces)[-10:]
        return line | {"eta_seconds": round(sum(recent) / len(recent) * updates_left, 1)}
