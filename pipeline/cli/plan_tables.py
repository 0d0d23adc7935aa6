"""A plan as a person reads it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.explain import explain
from pipeline.cli.output import WIDTH, duration
from pipeline.store.files import human_bytes

if TYPE_CHECKING:
    from pipeline.planning.plan import Plan
    from pipeline.planning.search import Option

PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "gathered": "gathered weights",
    "activations": "activations",
}
MOST_OPTIONS = 12


def print_plan(name: str, plan: Plan) -> None:
    """Print model, memory, communication, time, meshes, cost and assumptions."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    chosen, training = plan.chosen, plan.workload.training
    title = Text(f"{name} on {plan.cluster}, mesh {chosen.mesh}", style="bold")
    if chosen.mesh.fsdp > 1:
        title.append(f", fsdp_gather {chosen.gather}", style="bold")
    console.print(title)
    for line in explain(
        training.dimensions,
        training.vocabulary_size,
        training.sequence_length,
        training.predictions_per_token,
        groups=training.groups,
    ):
        console.print(Text(line))
    console.print(_memory(plan))
    _print_fit(plan, console)
    if chosen.time:
        if chosen.time.communication:
            console.print(_communication(chosen))
        _print_time(plan, console)
    if plan.cluster.devices > 1:
        console.print(_meshes(plan))
    console.print(Text("\nassumed", style="bold"))
    for line in plan.assumptions:
        console.print(Text(f"- {line}"))


def _memory(plan: Plan) -> Table:
    """Return the parts with as many rows at once as asked and, where those do not fit, as planned."""
    chosen = plan.chosen
    assert chosen.memory is not None  # the mesh was checked
    assert chosen.planned is not None
    columns = {_rows_at_once(chosen.asked): chosen.memory, _rows_at_once(chosen.micro_batch_size or 1): chosen.planned}
    table = _table("\nmemory per device", *columns, figures=len(columns))
    for part, words in PARTS.items():
        table.add_row(words, *(human_bytes(getattr(memory, part)) for memory in columns.values()))
    table.add_row("total", *(human_bytes(memory.total) for memory in columns.values()), style="bold")
    table.add_row("usable", *(human_bytes(plan.available) for _ in columns))
    return table


def _print_fit(plan: Plan, console: Console) -> None:
    """Say whether it fits, and what would."""
    chosen = plan.chosen
    if chosen.fault:
        lines = [f"✗ does not fit: {chosen.fault}", f"  {_instead(plan)}"]
    elif chosen.micro_batch_size < chosen.asked:
        lines = [
            f"✗ {_rows_at_once(chosen.asked)} do not fit, {chosen.largest} would",
            f"  set runtime.micro_batch_size to {chosen.micro_batch_size}, the most that fits and divides the "
            f"{chosen.rows} that each gets per update; so it is planned below",
        ]
    else:
        lines = [
            f"✓ fits: {_rows_at_once(chosen.asked)} of the {chosen.rows} that each gets per update; largest "
            f"micro-batch that fits: {chosen.largest:,} rows"
        ]
    for line in lines:
        console.print(Text(line, style="red" if line.startswith("✗") else ""))


def _instead(plan: Plan) -> str:
    suggested = plan.suggested
    if suggested is None:
        return (
            "no mesh of these devices holds it: take more or larger devices, a smaller model.size, or a smaller "
            "preprocess.sequence_length"
        )
    gather = f" with runtime.fsdp_gather {suggested.gather}" if suggested.mesh.fsdp > 1 else ""
    return (
        f"--mesh {suggested.mesh}{gather} would, with {suggested.micro_batch_size} rows at once, in "
        f"{_length(plan, suggested)}: the first that fits, data before fsdp before model"
    )


def _communication(option: Option) -> Table:
    assert option.time is not None
    table = _table("\ncommunication per update", "axis", "sent per device", "time", "link", figures=3)
    for part in option.time.communication:
        table.add_row(
            f"{part.kind.replace('_', '-')} of {part.what}",
            part.axis,
            human_bytes(part.bytes),
            _short(part.seconds),
            ("in a host" if part.inside else "between hosts") + (", overlaps" if part.overlaps else ""),
        )
    return table


def _print_time(plan: Plan, console: Console) -> None:
    workload, chosen = plan.workload, plan.chosen
    assert chosen.time is not None
    time = chosen.time
    passes = workload.global_batch_size // (chosen.mesh.batch_shards * chosen.micro_batch_size)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", min_width=8)
    table.add_column()
    table.add_row(
        "update",
        f"{_short(time.seconds)}: compute {_short(time.compute)}, waiting for communication {_short(time.exposed)}; "
        f"{workload.global_batch_size} rows = {passes} x {chosen.micro_batch_size} on each of "
        f"{chosen.mesh.batch_shards}",
    )
    speed = workload.tokens_per_update / time.seconds
    table.add_row("speed", f"{speed:,.0f} tokens/s, model FLOPs utilization {time.utilization:.1%}")
    table.add_row(
        "training",
        f"{workload.steps:,} updates x {workload.tokens_per_update:,} tokens = {workload.tokens:,} tokens in "
        f"{_length(plan, chosen)}",
    )
    cost = plan.cost(chosen)
    if cost is not None:
        spent = f"{plan.hours(chosen):,.3g} h x {plan.cluster.devices} devices x {plan.price:g}"
        table.add_row("cost", f"{cost:,.2f} = {spent} a device-hour")
    console.print()
    console.print(table)


def _meshes(plan: Plan) -> Table:
    """Return the first meshes in the order of preference, with what becomes of the training on them."""
    table = _table("\nmeshes", "fsdp_gather", "memory", "rows at once", "update", "", figures=4)
    shown = list(plan.options[:MOST_OPTIONS])
    shown += [option for option in (plan.suggested, plan.fastest) if option and option not in shown]
    for option in dict.fromkeys(shown):
        marks = [
            *(["this plan"] if (option.mesh, option.gather) == (plan.chosen.mesh, plan.chosen.gather) else []),
            *(["first that fits"] if option is plan.suggested else []),
            *(["fastest"] if option is plan.fastest else []),
            *([option.fault.partition(";")[0]] if option.fault else []),
        ]
        table.add_row(
            str(option.mesh),
            option.gather if option.mesh.fsdp > 1 else "",
            human_bytes(option.planned.total) if option.planned else "-",
            _rows(option),
            _short(option.time.seconds) if option.time else "-",
            Text(", ".join(marks), style="red" if option.fault else ""),
        )
    return table


def _rows(option: Option) -> str:
    """Return the rows that the memory beside is for: those planned, or one."""
    if not option.rows:
        return "-"
    rows = option.micro_batch_size or 1
    return f"{rows}" if rows == option.asked else f"{rows} of {option.asked}"


def _length(plan: Plan, option: Option) -> str:
    return duration(3600 * (plan.hours(option) or 0.0))


def _short(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:,.3g} µs"
    return f"{seconds * 1e3:,.3g} ms" if seconds < 1 else f"{seconds:,.4g} s"


def _rows_at_once(rows: int) -> str:
    return f"{rows} row{'' if rows == 1 else 's'} at once"


def _table(*columns: str, figures: int) -> Table:
    """Return a table whose columns after the first are figures, so many of them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        right = 1 <= number <= figures
        table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=number == 0)
    return table
