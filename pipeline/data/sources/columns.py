"""Which columns a source has to have, and which it must not."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence

from pipeline.config import Columns
from pipeline.errors import SourceError

MAPPED = ("text", "text_pair", "label", "id", "group")
RESERVED = ("row_id", "text", "text_pair", "group", "fault")


def require_columns(name: str, key: str, column: str | None, columns: Sequence[str]) -> None:
    """Raise unless `column`, which the recipe names at `key` for the source, exists.

    Raises:
        SourceError: it does not; the message lists those that do, and the closest.
    """
    if column is None or column in columns:
        return
    close = difflib.get_close_matches(column, columns, n=1, cutoff=0.5)
    raise SourceError(
        f"data.sources.{name}: the recipe's {key} is {column!r}, and there is no such column; "
        f"it has: {', '.join(textwrap.shorten(entry, 40) for entry in columns)}."
        + (f" Did you mean {close[0]!r}?" if close else f" Set {key} to one of them.")
    )


def require_distinct(where: str, columns: Sequence[str], remedy: str) -> None:
    """Raise if two columns of what is at `where` have one name; `remedy` says what to do.

    Raises:
        SourceError: they do.
    """
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise SourceError(f"{where}: the column {', '.join(twice)} appears twice; {remedy}")


def check_columns(where: str, wanted: Columns, present: Sequence[str], *, splits: bool) -> None:
    """Raise unless `present`, the columns at `where` ("<source> (<file>)"), are what the recipe wants.

    `splits` tells whether the pipeline gives the rows a column `split`.

    Raises:
        SourceError: a column that the recipe names is missing, or one has a name that the pipeline gives its own.
    """
    for key in MAPPED:
        require_columns(where, key, getattr(wanted, key), present)
    for column in wanted.columns or []:
        require_columns(where, "columns", column, present)
    own = {*RESERVED, *(["split"] if splits else []), *(["label"] if wanted.label else [])}
    if clash := sorted(own & set(kept_columns(wanted, present))):
        remedy = f", or set `{clash[0]}: {clash[0]}`" if clash[0] in ("group", "text_pair") else ""
        raise SourceError(
            f"data.sources.{where}: there is a column {clash[0]!r}, a name the pipeline gives its own column; rename "
            f"it there{remedy}, or list the columns to keep in `columns`"
        )


def kept_columns(wanted: Columns, present: Sequence[str]) -> list[str]:
    """Return the columns that keep their name: without those that become `text`, `text_pair` and `label`."""
    gone = {wanted.text, wanted.text_pair, wanted.label}
    gone |= {"group"} if wanted.group == "group" else set()
    gone |= {"row_id"} if wanted.id == "row_id" else set()
    return [column for column in (present if wanted.columns is None else wanted.columns) if column not in gone]
