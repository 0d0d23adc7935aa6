"""Where the figures of a training go: the log, the progress line, and the trackers that the recipe names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.progress import Progress
from pipeline.training.watch.log import MetricsLog

SHOWN = ("loss", "tokens_per_second", "model_flops_utilization")


class Tracker(Protocol):
    """Takes the figures of a training while it runs; neither waits nor fails."""

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of one line of the log."""


@dataclass(frozen=True)
class Reporter:
    """Tells the same figures to all who listen.

    Attributes:
        log: MetricsLog. Gets every line.
        progress: Progress. Shows the most important figures of reports.
        tracker: Tracker or None. Gets the numbers of every line.
    """

    log: MetricsLog
    progress: Progress
    tracker: Tracker | None = None

    def report(self, step: int, total: int, figures: Mapping[str, float]) -> None:
        """Tell how the updates since the last report went."""
        self._write(step, figures)
        self.progress.update(step, total, **{name: figures[name] for name in SHOWN if name in figures})

    def validated(self, step: int, figures: Mapping[str, float]) -> None:
        """Tell the validation after `step` updates."""
        self._write(step, {f"validation_{name}": value for name, value in figures.items()})

    def rolled_back(self, step: int, figures: Mapping[str, Any]) -> None:
        """Tell that training went back to `step`; later lines of the log belong to what was given up."""
        self.log.go_back(step)
        self._write(step, figures)

    def _write(self, step: int, figures: Mapping[str, Any]) -> None:
        self.log.write({"step": step, **figures})
        numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
        if self.tracker and numbers:
            self.tracker.track(step, numbers)
