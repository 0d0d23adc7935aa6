"""Tables as all commands that list things show them."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

COLORS = {"succeeded": "green", "pass": "green", "failed": "red", "fail": "red", "running": "yellow"}

UNFOLDED = 1000  # columns, where no terminal shows them: a name that is cut in two can be neither searched nor copied


def screen() -> Console:
    """Return where tables are printed: as wide as the terminal, and in whole lines into a file or pipe."""
    return Console(width=None if sys.stdout.isatty() else UNFOLDED)


def listing(*columns: str) -> Table:
    """Return a table without lines whose names stay whole, so that they can be copied into a command."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def facts() -> Table:
    """Return a table of names and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def when(moment: str) -> str:
    """Return an ISO moment as this machine's clock shows it."""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def colored(outcome: Any) -> str:
    """Return an outcome or a verdict in its colour."""
    color = COLORS.get(str(outcome), "default")
    return f"[{color}]{outcome}[/{color}]"
