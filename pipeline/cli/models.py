"""`tradewind models list | show | diff | promote | rollback`: what is published, and who serves."""

from __future__ import annotations

import json
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from pipeline.cli import model_files
from pipeline.cli.model_files import Model, find_version, registry_here
from pipeline.cli.tables import colored, facts, listing, screen, when
from pipeline.delivery import deliveries_of
from pipeline.judge.names import HEADLINES, spoken
from pipeline.registry import Version, promote, rollback

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.registry import Move

app = typer.Typer(help="Look at published models, and change which version serves.", no_args_is_help=True)
model_files.register(app)
Why = Annotated[
    str, typer.Option("--why", metavar="REASON", help="Kept with the version, with your name and the time.")
]

LINEAGE = ("run", "publish", "gate", "fingerprint", "finetune", "backbone", "data", "code", "license")


def register(application: typer.Typer) -> None:
    """Add the commands to the application."""
    application.add_typer(app, name="models")


@app.command("list")
def list_models() -> None:
    """List every version of every model, newest first, with its aliases and what it reached."""
    registry = registry_here()
    table = listing("model", "version", "serves as", "made by", "figures")
    for name in registry.models():
        for version in reversed(registry.versions(name)):
            note = "[red]taken back[/red]" if version.withdrawn else ", ".join(version.aliases)
            table.add_row(name, version.version, note, escape(version.tags.get("run", "-")), _figures(version))
    if table.row_count:
        screen().print(table)
    else:
        screen().print("No models yet. Publish one with: tradewind run configs/icd10.yaml")


@app.command("show")
def show(model: Model) -> None:
    """Show a version: what it is, why it passed, where it came from, and how the champion has moved."""
    registry = registry_here()
    version = find_version(registry, model)
    gate, card = _read(version, "gate.json"), _read(version, "bundle.json")
    console, table = screen(), facts()
    table.add_row("model", f"{version.name} version {version.version}")
    table.add_row("serves as", ", ".join(version.aliases) or "-")
    if version.withdrawn:
        table.add_row("taken back", f"[red]{escape(version.withdrawn)}[/red]")
    table.add_row("kind", f"{card['kind']}, {len(card['labels'])} labels" if card["labels"] else card["kind"])
    table.add_row("figures", _figures(version))
    table.add_row("verdict", colored(gate["verdict"]))
    if "forced" in gate:
        table.add_row("forced", escape(gate["forced"]))
    for reason in gate["reasons"]:
        table.add_row("", escape(reason))
    if "approved" in version.tags:
        table.add_row("approval", escape(version.tags["approved"]))
    for tag in LINEAGE:
        table.add_row(tag, escape(version.tags.get(tag, "-")))
    table.add_row("judged against", f"version {version.judged_against}" if version.judged_against else "nobody")
    table.add_row("signed", "yes" if version.signed else "no")
    table.add_row("folder", escape(str(version.bundle)))
    for delivery in deliveries_of(registry, version.name):
        if delivery.version == version.version:
            table.add_row("also at", f"{escape(delivery.place)} (since {when(delivery.when)})")
    console.print(table)
    if moves := registry.moves(version.name):
        console.print(_history(moves))


@app.command("diff")
def diff(first: Model, second: Model) -> None:
    """Compare two versions: figures on their test rows, labels, packages, and the recipes they were made by.

    Example: tradewind models diff icd10-chapter:1 icd10-chapter
    """
    registry = registry_here()
    one, two = find_version(registry, first), find_version(registry, second)
    console = screen()
    names = [f"{version.name}:{version.version}" for version in (one, two)]
    metrics = [_read(version, "metrics.json") for version in (one, two)]
    table = listing("", *names, "difference")
    if (kinds := [each["kind"] for each in metrics])[0] != kinds[1]:
        table.add_row("kind", *kinds, "answers of different kinds: no figure compares")
    for metric in dict.fromkeys(name for each in metrics for name in HEADLINES[each["kind"]]):
        values = [metrics_of.get(metric) for metrics_of in metrics]
        known = [value for value in values if value is not None]
        shown = ["-" if value is None else f"{value:.4f}" for value in values]
        change = f"{known[1] - known[0]:+.4f}" if len(known) == 2 else ""
        table.add_row(spoken(metric, start=False), *shown, change)
    table.add_row("test rows", *(str(each["rows"]) for each in metrics), "")
    console.print(table)
    labels = [set(_read(version, "bundle.json")["labels"]) for version in (one, two)]
    for title, names_of in (("labels gone", labels[0] - labels[1]), ("labels new", labels[1] - labels[0])):
        if names_of:
            console.print(f"{title}: {', '.join(sorted(names_of))}", markup=False)
    for file in ("recipe.yaml", "requirements.txt"):
        before, after = ((version.bundle / file).read_text("utf-8").splitlines() for version in (one, two))
        for line in unified_diff(before, after, f"{names[0]} {file}", f"{names[1]} {file}", n=2, lineterm=""):
            console.print(line, markup=False, highlight=False, style={"+": "green", "-": "red"}.get(line[0], ""))


@app.command("promote")
def promote_version(
    model: Annotated[str, typer.Argument(metavar="MODEL:VERSION|MODEL@ALIAS", help="Who is to serve.")], why: Why
) -> None:
    """Make a registered version the champion, whatever its verdict was; the present one becomes `previous`."""
    registry = registry_here()
    chosen = find_version(registry, model)
    _served(promote(registry, chosen.name, chosen.version, why))


@app.command("rollback")
def roll_back(model: Annotated[str, typer.Argument(metavar="MODEL")], why: Why) -> None:
    """Let the previous champion serve again. The one taken back is not published again until it is promoted by hand."""
    registry = registry_here()
    _served(rollback(registry, find_version(registry, model).name, why))


def _served(version: Version) -> None:
    typer.echo(f"{version.name} version {version.version} is the champion")


def _read(version: Version, file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(version.bundle / file).read_text("utf-8"))
    return found


def _figures(version: Version) -> str:
    metrics = _read(version, "metrics.json")
    headlines = [name for name in HEADLINES[metrics["kind"]] if metrics.get(name) is not None][:3]
    return "  ".join(f"{spoken(name, start=False)} {metrics[name]:.3f}" for name in headlines)


def _history(moves: list[Move]) -> Table:
    table = listing("when", "how", "from", "to", "who", "why")
    for move in moves:
        table.add_row(when(move.when), move.how, move.before or "-", move.version, escape(move.who), escape(move.why))
    return table
