"""From a source of the recipe to a frame of rows, and to the hash of what it holds.

Importing this module is light: pandas and pyarrow come with the first read.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import FilesSource, Icd10Source, Source
from pipeline.data import icd10
from pipeline.data.readers import FORMATS, Record, Table, read_table
from pipeline.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

RESERVED = ("row_id", "group", "fault")


def read_source(name: str, source: Source) -> pd.DataFrame:
    """Return the rows of a source, in the order of the files.

    Columns, all str: `row_id` ("<source>:<line>"; "<source>:<file>:<line>" where the recipe names several files),
    `text` ("" where the file has none), `group` (null without one), `fault` (why the row cannot be used, else null),
    then every other column of the source. A line number counts from 1 and includes a header; Parquet and ICD-10-CM
    count records.

    Raises:
        SourceError: no file, an empty or unreadable one, an unknown format, or a missing column.
    """
    if isinstance(source, Icd10Source):
        rows = [(f"{name}:{record.line}", record) for record in icd10.read()]
        require_columns(name, "group", source.group, icd10.COLUMNS)
        return _frame(rows, list(icd10.COLUMNS), "text", source.group)
    several = isinstance(source.path, list) or glob.has_magic(source.path)
    columns: dict[str, None] = {}
    rows = []
    for relative, path in files(name, source).items():
        table = read_table(path, _format(name, source, path), source.text)
        _check_columns(name, source, path, table)
        columns |= dict.fromkeys(table.columns)
        prefix = f"{name}:{relative}:" if several else f"{name}:"
        rows += [(f"{prefix}{record.line}", record) for record in table.records]
    if not rows:
        raise SourceError(f"data.sources.{name}: {source.path} holds no rows; expected at least one after the header")
    return _frame(rows, list(columns), source.text, source.group)


def source_content(name: str, source: Source) -> str:
    """Return the sha256 of what the source holds: of each file's name below the recipe's path, and its bytes.

    Raises:
        SourceError: no file.
    """
    found = {"icd10cm.xml": icd10.xml_path()} if isinstance(source, Icd10Source) else files(name, source)
    total = hashlib.sha256()
    for relative, path in sorted(found.items()):
        with path.open("rb") as stream:
            total.update(f"{relative}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def files(name: str, source: FilesSource) -> dict[str, Path]:
    """Return the source's files by their names below the folder that all its paths share, sorted.

    Raises:
        SourceError: a path without a file, or a pattern without a match.
    """
    patterns = [source.path] if isinstance(source.path, str) else source.path
    if not patterns:
        raise SourceError(f"data.sources.{name}.path is an empty list; name at least one file")
    found = [path for pattern in patterns for path in _matches(name, pattern)]
    base = os.path.commonpath([_fixed_folder(pattern) for pattern in patterns])
    return {Path(os.path.relpath(path, base)).as_posix(): path for path in sorted(set(found))}


def require_columns(name: str, key: str, column: str | None, columns: list[str] | tuple[str, ...]) -> None:
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


def _matches(name: str, pattern: str) -> list[Path]:
    where = f"data.sources.{name}.path"
    if glob.has_magic(pattern):
        # Path.glob takes no absolute patterns.
        matches = glob.glob(pattern, recursive=True)  # noqa: PTH207
        paths = [Path(match) for match in matches if Path(match).is_file()]
        if not paths:
            raise SourceError(f"{where}: no file matches {pattern!r} (working folder: {Path.cwd()}); check the pattern")
        return paths
    path = Path(pattern)
    if path.is_dir():
        raise SourceError(f"{where}: {pattern!r} is a folder; expected a file, or a pattern such as {pattern}/*.csv")
    if not path.is_file():
        beside = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"did you mean {str(path.with_name(close[0]))!r}?" if close else "check the path"
        raise SourceError(f"{where}: there is no file {pattern!r} (working folder: {Path.cwd()}); {hint}")
    return [path]


def _fixed_folder(pattern: str) -> str:
    """Return the deepest folder of the pattern that holds no wildcard."""
    folder = Path(pattern).absolute().parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return str(folder)


def _format(name: str, source: FilesSource, path: Path) -> str:
    if source.format != "auto":
        return source.format
    if kind := FORMATS.get(path.suffix.lower()):
        return kind
    raise SourceError(
        f"data.sources.{name}: the format of {path} does not show in its suffix {path.suffix!r}; expected one of "
        f"{', '.join(FORMATS)}, or set data.sources.{name}.format to csv, tsv, jsonl, parquet or text"
    )


def _check_columns(name: str, source: FilesSource, path: Path, table: Table) -> None:
    if not table.columns:
        return
    where = f"{name} ({path})"
    require_columns(where, "text", source.text, table.columns)
    require_columns(where, "group", source.group, table.columns)
    reserved = {*RESERVED, "text"} - {source.text} - ({"group"} if source.group == "group" else set())
    if clash := sorted(reserved & set(table.columns)):
        raise SourceError(
            f"data.sources.{where}: the file has a column {clash[0]!r}, a name the pipeline gives its own column; "
            f"rename it in the file" + (", or set `group: group`" if clash[0] == "group" else "")
        )


def _frame(rows: list[tuple[str, Record]], columns: list[str], text: str, group: str | None) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    records = [record for _, record in rows]
    data: dict[str, list[str | None]] = {
        "row_id": [row_id for row_id, _ in rows],
        "text": [(record.fields.get(text) if record.raw is None else record.raw) or "" for record in records],
        "group": [record.fields.get(group) if group else None for record in records],
        "fault": [record.fault for record in records],
    }
    for column in columns:
        if column not in data and column != text:
            data[column] = [record.fields.get(column) for record in records]
    return pd.DataFrame(data, dtype=pd.StringDtype(na_value=np.nan))
