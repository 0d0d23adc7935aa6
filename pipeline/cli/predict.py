"""`tradewind predict`: answer texts with a published model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config import Settings
from pipeline.formats.formats import FORMATS, KERAS, find_format
from pipeline.registry import Registry, Version

LEAST_WIDTH = 12


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("predict")(predict)


def predict(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Texts to answer, quoted.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@ALIAS|:VERSION]",
            help="Published model; default: the only one there is. Alias: champion, previous or candidate.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="K", help="How many labels to show, most likely first.")] = 3,
    pair: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Second text of every text, for models of text pairs; the question."),
    ] = None,
    file: Annotated[Path | None, typer.Option(metavar="PATH", help="UTF-8 file with one text a line.")] = None,
    format: Annotated[  # noqa: A002 (typer names the option after it)
        str, typer.Option(metavar="FORMAT", help=f"What the version is opened in: {', '.join(FORMATS)}.")
    ] = KERAS,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Answer texts with a published model: a class, classes, a number, a tag for each word, an answer, or a text.

    Example: tradewind predict "Fracture of left wrist" --model icd10-chapter
    """
    # Inside, so that the command line starts without them.
    from pipeline.backend import select_backend
    from pipeline.predict import answer, check_texts, find_model, read_texts

    every = [*(texts or []), *(read_texts(file) if file else [])]
    check_texts(every)
    version = find_model(Registry.for_workspace(Settings()), model)
    bundle = find_format(version.checked_bundle(), format)
    if format == KERAS:
        select_backend("auto")
    pairs = None if pair is None else [pair] * len(every)
    for text, said in zip(every, answer(bundle, every, pairs, top), strict=True):
        if as_json:
            asked = {"prompt" if "finished" in said else "text": text}  # an answer may be a text itself
            typer.echo(json.dumps(asked | said | _identity(version), ensure_ascii=False))
        else:
            typer.echo("\n".join([text, *_lines(said)]))
    if not as_json:
        typer.echo(f"({version.name} version {version.version})", err=True)


def _lines(said: dict[str, Any]) -> list[str]:
    """Return an answer for a person to read."""
    if "value" in said:
        return [f"  {said['value']:.4g}"]
    if "answer" in said:
        return _columns((one["answer"] or "no answer in the text", "", one["confidence"]) for one in said["top"])
    if "finished" in said:
        return [f"  {said['text']}" + ("" if said["finished"] else " …")]
    if "words" in said:
        return _columns((word["word"], word["tag"], word["confidence"]) for word in said["words"])
    chosen = [f"  {', '.join(said['labels']) or 'none of the labels'}"] if "labels" in said else []
    return chosen + _columns((score["label"], "", score["confidence"]) for score in said["top"])


def _columns(rows: Iterable[tuple[str, str, float]]) -> list[str]:
    names, tags, confidences = zip(*rows, strict=True) if (rows := list(rows)) else ((), (), ())
    first, second = max([LEAST_WIDTH, *map(len, names)]), max([0, *map(len, tags)])
    between = 2 if second else 0
    return [
        f"  {name:<{first}}  {tag:<{second + between}}{confidence:6.1%}"
        for name, tag, confidence in zip(names, tags, confidences, strict=True)
    ]


def _identity(version: Version) -> dict[str, str]:
    return {"model": version.name, "version": version.version}
