"""What a person sees while a recipe runs: one live line for the step at work, one permanent line for each done."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.text import Text

from pipeline.progress import LiveProgress, LogProgress, Progress

LABEL = 24
WIDTH = 100  # where there is no terminal to ask


class Display(Protocol):
    """Shows the steps of a run."""

    def step(self, node: str) -> AbstractContextManager[Progress]:
        """Show that `node`, such as `finetune chapter`, is at work; hand its progress to what is entered."""

    def finished(self, node: str, hit: bool, seconds: float, summary: str) -> None:
        """Show that `node` is done; `hit` says that an earlier run had done it."""


class ConsoleDisplay:
    """Writes to a console: a live line when it is a terminal, and log lines else.

    `current` is the node at work; after an error it still names the one that failed.
    """

    def __init__(self, console: Console, live: bool) -> None:
        self.console = console
        self.live = live
        self.current: str | None = None

    @contextmanager
    def step(self, node: str) -> Iterator[Progress]:
        """Show that `node` is at work."""
        self.current = node
        if self.live:
            with LiveProgress(node, self.console) as progress:
                yield progress
        else:
            yield LogProgress(node)
        self.current = None

    def finished(self, node: str, hit: bool, seconds: float, summary: str) -> None:
        """Write the permanent line of `node`."""
        line = Text(no_wrap=True, overflow="ellipsis" if self.live else "ignore")
        if hit:
            line.append("• ", style="dim").append(f"{node:<{LABEL}}", style="dim")
            line.append("kept from an earlier run", style="dim")
            line.append(f"  {summary}" if summary else "", style="dim")
        else:
            line.append("✓ ", style="green").append(f"{node:<{LABEL}}").append(
                f"{duration(seconds):>6}  ", style="cyan"
            )
            line.append(summary)
        self.console.print(line, soft_wrap=not self.live)


def open_display() -> ConsoleDisplay:
    """Return the display for this process: live on a terminal; elsewhere lines, with the log on stderr."""
    live = sys.stdout.isatty()
    if not live:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("  %(message)s"))
        logger = logging.getLogger("tradewind")
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return ConsoleDisplay(Console(highlight=False, width=None if live else WIDTH), live)


def duration(seconds: float) -> str:
    """Return `0.4s`, `12s`, `1m52s` or `2h05m`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"
