"""What a step tells the person who watches it: one live line on a terminal, one log line per interval elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichBar

logger = logging.getLogger("tradewind")


class Progress(Protocol):
    """Receives the progress of one step."""

    def update(self, done: float, total: float, **figures: float | str) -> None:
        """Report `done` of `total` units, with figures such as `loss` or `tokens_per_second`."""

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        """Report what belongs into the curves of a training after `step` updates; neither waits nor fails."""

    def say(self, text: str) -> None:
        """Report one sentence that should stay readable after the step."""


class SilentProgress:
    """Drops everything; for tests and library use."""

    def update(self, done: float, total: float, **figures: float | str) -> None:
        """Ignore the report."""

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        """Ignore the figures."""

    def say(self, text: str) -> None:
        """Ignore the sentence."""


class LogProgress(SilentProgress):
    """Writes at most one line per `interval` seconds to the log: readable in Airflow and in files."""

    def __init__(self, label: str, interval: float = 5.0) -> None:
        self.label = label
        self.interval = interval
        self.first: tuple[float, float] | None = None
        self.last = float("-inf")

    def update(self, done: float, total: float, **figures: float | str) -> None:
        """Log `done` of `total` when the interval has passed, and always the last report.

        The time left goes by the pace since the first report, so neither compilation nor a resumed part counts.
        """
        now = time.monotonic()
        self.first = self.first or (now, done)
        if now - self.last < self.interval and done < total:
            return
        self.last = now
        since, before = self.first
        remaining = f"  eta {(now - since) / (done - before) * (total - done):.0f}s" if done > before else ""
        logger.info("%s %d/%d  %s%s", self.label, done, total, describe(figures), remaining)

    def say(self, text: str) -> None:
        """Log the sentence."""
        logger.info("%s %s", self.label, text)


class LiveProgress(SilentProgress):
    """Redraws one line on a terminal; use as a context manager around the step."""

    def __init__(self, label: str, console: Console) -> None:
        self.console = console
        self.label = label
        self.bar = RichBar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task(f"· {label:<24}", total=None, figures="")

    def __enter__(self) -> LiveProgress:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def update(self, done: float, total: float, **figures: float | str) -> None:
        """Redraw the line."""
        self.bar.update(self.task, completed=done, total=total, figures=describe(figures))

    def say(self, text: str) -> None:
        """Print the sentence above the live line."""
        self.console.print(f"  {self.label}: {text}", style="dim", highlight=False, markup=False)


def describe(figures: dict[str, float | str]) -> str:
    """Return figures as `loss 2.314  tokens/s 18,204`."""
    return "  ".join(f"{name.replace('_per_second', '/s')} {format_figure(value)}" for name, value in figures.items())


def format_figure(value: float | str) -> str:
    """Return a number with the digits a person reads: four significant ones, thousands separated."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.4g}"
