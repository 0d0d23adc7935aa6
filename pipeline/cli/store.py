"""`tradewind runs | show | gc`: what was run, where each artifact came from, and what may be deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from pipeline.cli.tables import colored, facts, listing, screen, when
from pipeline.config import Settings
from pipeline.errors import StoreError
from pipeline.store.files import human_bytes

if TYPE_CHECKING:
    from pipeline.store import Store
    from pipeline.store.manifest import Manifest


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("runs")(runs)
    app.command("show")(show)
    app.command("gc")(gc)


def runs(
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many runs.")] = 20,
) -> None:
    """List the runs in this workspace, newest first.

    "Hit" counts the steps whose artifact was there already, "ran" those that had to be computed. Look into one of
    them with `tradewind show RUN`.
    """
    records = _store().runs.list()
    if not records:
        screen().print("No runs yet. Start one with: tradewind run configs/icd10.yaml")
        return
    table = listing("run", "recipe", "when", "outcome", "hit", "ran")
    for record in records[:limit]:
        steps = [entry for entry in record["nodes"].values() if entry.get("reference") or entry["status"] == "failed"]
        hits = [bool(entry.get("hit")) for entry in steps]
        table.add_row(
            record["run_id"],
            record["recipe_name"],
            when(record["created"]),
            colored(record["outcome"]),
            str(sum(hits)),
            str(len(hits) - sum(hits)),
        )
    console = screen()
    console.print(table)
    if len(records) > limit:
        console.print(f"{len(records) - limit} older runs: --limit {len(records)} shows them all")


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ARTIFACT",
            help="A run as `tradewind runs` lists it, or an artifact: its step, a slash, and the first digits of its "
            "fingerprint, as in pretrain/3f9a.",
        ),
    ],
) -> None:
    """Show one run with the artifact of each step, or one artifact with what it was made from and what uses it."""
    store = _store()
    if "/" in name:
        _show_artifact(store, name)
    else:
        _show_run(store, name)


def gc(
    delete: Annotated[
        bool, typer.Option("--delete/--dry-run", help="Delete it, or only list what would be deleted.")
    ] = False,
    keep_runs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of each recipe, keep only the artifacts of the newest so many runs. Default: those of every run.",
        ),
    ] = None,
    idle_hours: Annotated[
        float, typer.Option(min=0.0, help="Spare whatever was used or written within so many hours.")
    ] = 1.0,
) -> None:
    """List, or delete, what no run needs: unused artifacts, abandoned half-done steps, damaged leftovers.

    Nothing that a kept run refers to, and nothing that a process is working on, is ever deleted. The records of old
    runs stay.
    """
    from pipeline.store.gc import delete as delete_garbage
    from pipeline.store.gc import find_garbage

    store = _store()
    garbage = find_garbage(store, keep_runs, idle_hours * 3600)
    if delete:
        garbage = delete_garbage(store, garbage, idle_hours * 3600)
    console = screen()
    total = human_bytes(sum(item.bytes for item in garbage))
    if garbage:
        table = listing("kind", "name", "size", "reason")
        for item in garbage:
            table.add_row(item.kind, _short(item.name), human_bytes(item.bytes), item.reason)
        console.print(table)
    if delete:
        console.print(f"Deleted {len(garbage)} folders, {total}.")
    elif garbage:
        console.print(f"{len(garbage)} folders, {total}. Nothing was deleted; add --delete to do it.")
    else:
        console.print("Nothing to delete.")


def _show_run(store: Store, run_id: str) -> None:
    record = store.runs.load(run_id)
    console = screen()
    table = facts()
    table.add_row("run", run_id)
    table.add_row("recipe", record["recipe_name"])
    table.add_row("created", f"{when(record['created'])}, {record['trigger']}")
    if dates := record.get("dates"):
        table.add_row("date", f"{dates['data_interval_start']} to {dates['data_interval_end']}")
    table.add_row("outcome", colored(record["outcome"]))
    console.print(table)
    nodes = listing("node", "artifact", "seconds", "")
    present = {f"{step}/{fingerprint}" for step, fingerprint in store.artifacts()}
    for node, entry in record["nodes"].items():
        reference, seconds = entry.get("reference"), entry.get("seconds")
        nodes.add_row(
            escape(node),
            _short(reference or "-"),
            "-" if seconds is None else f"{seconds:.1f}",
            _fate(entry) + (", no longer in the store" if reference and reference not in present else ""),
        )
    console.print(nodes)
    for node, entry in record["nodes"].items():
        if "error" in entry:
            console.print(f"{node}: {entry['error']}", style="red", markup=False)


def _show_artifact(store: Store, reference: str) -> None:
    from pipeline.store.lineage import lineage

    manifest = store.manifest(reference)
    found = lineage(store, manifest)
    console = screen()
    table = facts()
    table.add_row("artifact", f"{manifest.step}/{manifest.fingerprint}")
    table.add_row("folder", escape(str(store.artifact_path(manifest.step, manifest.fingerprint))))
    table.add_row("state", _state(store, reference))
    table.add_row("made", f"{when(manifest.started)}, in {manifest.seconds:.1f} s{' (resumed)' * manifest.resumed}")
    table.add_row("with", _circumstances(manifest))
    table.add_row("packages", ", ".join(f"{name} {version}" for name, version in manifest.packages.items()))
    for name, value in manifest.recipe.items():
        table.add_row(f"recipe {name}", escape(str(value)))
    table.add_row("files", f"{len(manifest.files)}, {human_bytes(sum(file.size for file in manifest.files.values()))}")
    for name, value in manifest.result.items():
        table.add_row(f"result {name}", escape(str(value)))
    for name, origins in found.made_from.items():
        content = manifest.inputs[name]
        table.add_row(f"made from {name}", _lines(origins) or f"content {content[:12]}, no longer in the store")
    table.add_row("used in", _lines(found.used_in) or "-")
    table.add_row("runs", "\n".join(found.runs) or "-")
    console.print(table)


def _store() -> Store:
    from pipeline.store import Store

    return Store(Settings().workspace)


def _fate(entry: dict[str, Any]) -> str:
    """Say what became of a node: its artifact was there, or it ran, or it failed."""
    if "error" in entry or entry.get("status") == "failed":
        return "[red]failed[/red]"
    if entry.get("status") == "running":
        return "[yellow]running[/yellow]"
    if not entry.get("reference"):  # a person's approval, or a champion that is gone
        told = f" by {entry['who'] or 'default'}: {entry['why']}" if "why" in entry else ""
        return escape(f"{entry.get('status', '')}{told}")
    return "hit" if entry.get("hit") else "ran"


def _state(store: Store, reference: str) -> str:
    try:
        store.get(reference)
    except StoreError as error:
        return f"[red]{escape(str(error))}[/red]"
    return "[green]sound[/green]"


def _circumstances(manifest: Manifest) -> str:
    code = f"tradewind {manifest.code.version}" + (f" at {manifest.code.commit}" if manifest.code.commit else "")
    backend = f", {manifest.backend} backend" if manifest.backend else ""
    return f"{code}{backend}, {manifest.device.platform}, {manifest.device.cpus} CPUs"


def _lines(names: list[str]) -> str:
    return "\n".join(_short(name) for name in names)


def _short(reference: str) -> str:
    """Cut a fingerprint to the digits a person compares; the command accepts it so."""
    step, slash, fingerprint = reference.partition("/")
    return f"{step}{slash}{fingerprint[:12]}"
