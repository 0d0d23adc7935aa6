"""`tradewind data profile | peek`: look at data before there is a recipe, and at what a recipe makes of them."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.peek import peek
from pipeline.errors import SourceError

SPLITS = ("train", "training", "test", "dev", "valid", "validation", "data")

if TYPE_CHECKING:
    from pipeline.config import FilesSource, SqlSource


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(no_args_is_help=True)
    group.command("profile")(profile)
    group.command("peek")(peek)
    app.add_typer(group, name="data", help="Look at data: what is in a source, and what a model will see of it.")


def profile(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file, a glob, any URL such as s3://bucket/\\*.parquet or hf://datasets/owner/name/\\*.csv; with "
            "--query, the SQLAlchemy URL of a database.",
        ),
    ],
    text: Annotated[
        str | None,
        typer.Option(help="Column that holds the text. Default: `text`, or else the one with the longest values."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the source. Default: after its file or folder.")] = None,
    file_format: Annotated[
        Literal["auto", "csv", "tsv", "jsonl", "parquet", "text", "conll"],
        typer.Option("--format", help="Format of the files; auto goes by the suffix."),
    ] = "auto",
    encoding: Annotated[
        str, typer.Option(help="Of the files, such as latin-1; auto is UTF-8, or UTF-16 that begins with its mark.")
    ] = "auto",
    delimiter: Annotated[str, typer.Option(help="What stands between the columns of a CSV file, such as `;`.")] = ",",
    document: Annotated[
        Literal["line", "block", "file"], typer.Option(help="What one document is in plain text.")
    ] = "line",
    row_id: Annotated[str | None, typer.Option("--id", help="Column that names a row, each value once.")] = None,
    query: Annotated[str | None, typer.Option(help="The SELECT whose rows are the data of a database.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the recipe to this file instead of to stdout.")] = None,
) -> None:
    """Read a source once; say what is in it, and draft a recipe with checks that its rows keep, ready to edit.

    The summary goes to stderr, the recipe to stdout or --out.
    """
    from pydantic import ValidationError

    from pipeline.config import FilesSource, SqlSource
    from pipeline.config.wording import refusal
    from pipeline.data.quality.drafting.draft import draft
    from pipeline.data.quality.drafting.recipe_text import describe, slug, to_yaml

    if out is not None and out.exists():
        raise SourceError(f"--out: {out} exists already; name another file, or remove it first")
    its_name = slug(name or _last_part(source), set())
    if name not in (None, its_name):
        raise SourceError(f"--name: received {name!r}; expected lower-case letters, digits, - and _: --name {its_name}")
    described: FilesSource | SqlSource
    try:
        if query is not None:
            described = SqlSource(kind="sql", url=source, query=query, id=row_id)
        else:
            described = FilesSource(
                path=source, format=file_format, document=document, id=row_id, encoding=encoding, delimiter=delimiter
            )
    except ValidationError as error:
        told = "; ".join(refusal(each, SqlSource if query is not None else FilesSource) for each in error.errors())
        raise SourceError(f"{its_name}: {told}") from None
    with tempfile.TemporaryDirectory() as folder:
        found = draft(its_name, described, text, Path(folder))
    typer.echo(describe(found), err=True)
    recipe = to_yaml(its_name, found)
    if out is None:
        typer.echo(recipe, nl=False)
    else:
        out.write_text(recipe, encoding="utf-8")
        typer.echo(f"wrote {out}; check it with: tradewind recipe check {out}", err=True)


def _last_part(source: str) -> str:
    """Return the name of a file without suffixes, or of its folder where the file is a pattern or names a split."""
    parts = [part.partition(".")[0] for part in re.split(r"[/\\]", source.partition("?")[0]) if "*" not in part]
    telling = [part for part in parts if part and part.lower() not in SPLITS]
    return telling[-1] if telling else "data"
