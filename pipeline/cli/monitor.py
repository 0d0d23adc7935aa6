"""`tradewind monitor`: have the texts that a published model is asked moved from those it knows?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.tables import listing, screen
from pipeline.config import Settings
from pipeline.registry import Registry

MOVED = 3
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("monitor")(monitor)


def monitor(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL[@ALIAS|:VERSION]", help="Default: the only published model.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Log of `serve`; default: served/MODEL in the workspace.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="AGE|TIME", help="Such as 24h, 7d, or 2026-11-26T08:00 in UTC; default: all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For the report; default: reports/monitor/MODEL.")
    ] = None,
) -> None:
    """Compare what a model is asked and answers with what it was trained and tested on.

    Limits are those of the recipe's data.drift. Exit status: 0 nothing moved, 3 something moved beyond its limit, 1 it
    could not be compared.
    """
    from pipeline.monitoring import monitor as monitoring
    from pipeline.predict import find_model

    settings = Settings()
    version = find_model(Registry.for_workspace(settings), model, "tradewind monitor")
    found = monitoring.monitor(
        version.checked_bundle(),
        version.name,
        version.version,
        log or settings.workspace / "served" / version.name,
        moment(since) if since else None,
        out or settings.workspace / "reports" / "monitor" / version.name,
    )
    table = listing("", "metric", "observed", "at most")
    for metric in found.metrics:
        mark = "[green]passed[/green]" if metric.passed else "[red]moved[/red]"
        table.add_row(mark, metric.name.replace("_", " "), f"{metric.value:.4f}", f"{metric.limit:g}")
    console = screen()
    console.print(f"{version.name} version {version.version}, {found.rows:,} answers", highlight=False)
    console.print(table)
    console.print(f"report: {found.page}", soft_wrap=True, highlight=False)
    for metric in found.moved:
        typer.echo(metric.sentence, err=True)
    if found.moved:
        raise typer.Exit(MOVED)


def moment(text: str) -> datetime:
    """Return the moment that `24h` ago or an ISO time means, in UTC. Raises typer.BadParameter: it is neither."""
    if match := re.fullmatch(r"(\d+)([mhdw])", text):
        return datetime.now(UTC) - timedelta(**{UNITS[match[2]]: int(match[1])})
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"--since is {text!r}; expected an age such as 90m, 24h, 7d, 2w, or a time such as 2026-11-26T08:00"
        ) from error
    return given if given.tzinfo else given.replace(tzinfo=UTC)
