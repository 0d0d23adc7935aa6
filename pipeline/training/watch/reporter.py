"""Where the figures of a training go: the log, and whoever watches its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.progress import Progress
from pipeline.training.watch.log import VALIDATION, MetricsLog

SHOWN = ("loss", "tokens_per_second", "model_flops_utilization")


@dataclass(frozen=True)
class Reporter:
    """Tells the same figures to all who listen.

    Attributes:
        log: MetricsLog. Gets every line.
        progress: Progress. Shows the most important figures of reports, and tracks the numbers of every line.
    """

    log: MetricsLog
    progress: Progress

    def report(self, step: int, total: int, figures: Mapping[str, float]) -> None:
        """Tell how the updates since the last report went."""
        self._write(step, figures)
        self.progress.update(step, total, **{name: figures[name] for name in SHOWN if name in figures})

    def validated(self, step: int, figures: Mapping[str, float]) -> None:
        """Tell the validation after `step` updates."""
        self._write(step, {f"{VALIDATION}{name}": value for name, value in figures.items()})

    def rolled_back(self, step: int, figures: Mapping[str, Any]) -> None:
        """Tell that training went back to `step`; later lines of the log belong to what was given up."""
        self.log.go_back(step)
        self._write(step, figures)

    def _write(self, step: int, figures: Mapping[str, Any]) -> None:
        self.log.write({"step": step, **figures})
        numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
        if numbers:
            self.progress.track(step, numbers)
