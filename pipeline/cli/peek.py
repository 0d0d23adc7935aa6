"""`tradewind data peek`: the rows that a model will be trained on, as a person reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipeline.cli.failure import command_line, resumable
from pipeline.cli.output import open_display
from pipeline.cli.recipe import Overrides, RecipeFile, RunDate, dates_of_run
from pipeline.config import Settings

if TYPE_CHECKING:
    from pipeline.peek import Document, Row


LEARNED = {
    "decoder": "a decoder predicts each next token of these documents",
    "encoder_decoder": "spans of these documents are taken out, anew in each update, and written by the decoder",
}


def peek(
    recipe: RecipeFile,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show the rows of this task; default: those of pretraining.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=100, help="How many packed rows.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row, for programs.")] = False,
    overrides: Overrides = None,
    date: RunDate = None,
) -> None:
    """Show packed rows as the model will see them: texts, token pieces, masks, labels, padding.

    Runs `validate` and `preprocess` first, unless they are done. A token that an encoder is to find is shown with its
    target behind it; of other architectures the rows are shown whole.

    Example: tradewind data peek configs/icd10.yaml --task chapter
    """
    from pipeline.flow import Flow
    from pipeline.peek import peek_corpus, peek_rows, peek_task
    from pipeline.recipes import load_recipe

    display = open_display()
    again = command_line("data", "peek", str(recipe), task=task, set=overrides, date=date)
    with resumable(lambda: "reading the recipe", lambda: again):
        found = load_recipe(recipe, overrides or [])
        dates = dates_of_run(date, found)
    if task is not None and task not in found.tasks:
        raise typer.BadParameter(f"received {task!r}; expected one of {', '.join(found.tasks)}", param_hint="--task")
    with resumable(lambda: display.current or "data peek", lambda: again):
        flow = Flow.create(found, recipe, Settings(), trigger="cli", dates=dates)
        flow.step("validate", None, display)
        tokens = flow.step("preprocess", None, display).path
        flow.store.runs.finish(flow.run_id, "succeeded")
    architecture = found.model.architecture
    if task is None and architecture != "encoder":
        shown = peek_rows(tokens, found.seed, rows)
        typer.echo(LEARNED[architecture], err=True)
    elif task is None:
        shown = peek_corpus(tokens, found.pretrain.mask_fraction, found.seed, rows)
    else:
        shown = peek_task(tokens, task, found.seed, rows)
    if as_json:
        for row in shown:
            typer.echo(json.dumps(asdict(row), ensure_ascii=False))
    else:
        _print(shown, Console(highlight=False, soft_wrap=True))


def _print(rows: Sequence[Row], console: Console) -> None:
    for number, row in enumerate(rows, start=1):
        used = sum(len(document.tokens) for document in row.documents)
        console.print(
            Text(f"row {number}: {len(row.documents)} documents, {used} tokens, {row.padding} empty", style="bold")
        )
        for document in row.documents:
            console.print(_line(document))


def _line(document: Document) -> Text:
    line = Text("  ")
    if document.label is not None:
        line.append(f"[{document.label}]  ", style="cyan")
    line.append(document.text).append("\n    ")
    for token in document.tokens:
        line.append(token.piece, style="dim" if token.target is None else "yellow")
        if token.target is not None:
            line.append(f"→{token.target}", style="green")
        line.append(" ")
    return line
