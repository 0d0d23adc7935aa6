"""`tradewind predict`: answer texts with a published model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config import Settings
from pipeline.registry import Registry, Version

LEAST_WIDTH = 12


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("predict")(predict)


def predict(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Texts to classify, quoted.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@ALIAS]", help="Published model; default: the only one there is. Alias: champion or previous."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="K", help="How many labels to show, most likely first.")] = 3,
    file: Annotated[Path | None, typer.Option(metavar="PATH", help="UTF-8 file with one text a line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Classify texts with a published model.

    Example: tradewind predict "Fracture of left wrist" --model icd10-chapter
    """
    # Inside, so that the command line starts without them.
    from pipeline.backend import select_backend
    from pipeline.predict import answer, check_texts, find_model, read_texts

    every = [*(texts or []), *(read_texts(file) if file else [])]
    check_texts(every)
    version = find_model(Registry.for_workspace(Settings()), model)
    select_backend("auto")
    answers = answer(version.bundle, every, top)
    if as_json:
        for each in answers:
            scores = [{"label": score.label, "confidence": score.confidence} for score in each.top]
            typer.echo(
                json.dumps({"text": each.text, **scores[0], "top": scores} | _identity(version), ensure_ascii=False)
            )
        return
    for each in answers:
        typer.echo(each.text)
        width = max(LEAST_WIDTH, *(len(score.label) for score in each.top))
        for score in each.top:
            typer.echo(f"  {score.label:<{width}}  {score.confidence:6.1%}")
    typer.echo(f"({version.name} version {version.version})", err=True)


def _identity(version: Version) -> dict[str, str]:
    return {"model": version.name, "version": version.version}
