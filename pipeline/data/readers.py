"""One reader per file format: bytes on disk to records, with every unreadable record named by its line.

A reader never guesses and never drops: a record that cannot be read becomes a `Record` with a `fault`, and a file
that cannot be read at all is a `SourceError`. Values become strings here (`as_string`), so that "NA", "null" and
"None" stay the words they are.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import SourceError

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}
WIDE_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Record(NamedTuple):
    """One record of a file; `line` is the 1-based line it starts on (the record's number in Parquet).

    `fields` holds what could be read. `fault` says why the record must not be used; then `raw` is its text as it
    stands in the file, where the fields are not known.
    """

    line: int
    fields: Mapping[str, str | None]
    fault: str | None = None
    raw: str | None = None


class Table(NamedTuple):
    """A file's columns and its records."""

    columns: list[str]
    records: list[Record]


def read_table(path: Path, kind: str, text: str) -> Table:
    """Read a file of the format `kind`; `text` names the column of a format without columns.

    Raises:
        SourceError: the file is empty, of another format, or cannot be opened.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(2)
        if not head:
            raise SourceError(f"{path} is empty (0 bytes); expected rows of {kind}. Was it written to the end?")
        if head in WIDE_BYTE_ORDER_MARKS:
            raise SourceError(f"{path} is UTF-16; expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW")
        if kind == "parquet":
            return _read_parquet(path)
        if kind == "jsonl":
            return _read_json_lines(path)
        if kind == "text":
            return _read_lines(path, text)
        return _read_csv(path, kind)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror or error}; expected a readable {kind} file"
        ) from error


def as_string(value: Any) -> str | None:
    """Return a value as the string it has in JSON or in the file; None stays None.

    Bytes that are not UTF-8 become lone surrogates, which `escaped` finds.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)


def _read_csv(path: Path, kind: str) -> Table:
    """Read CSV (RFC 4180) or TSV (quotes are ordinary characters there, as in the IANA type)."""
    lines = _Lines(path)
    if kind == "tsv":
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(lines, strict=True)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        header = _header(path, next(rows, []))
        return Table(header, list(_csv_records(path, header, rows, lines)))
    except csv.Error as error:
        raise SourceError(f"{path}:1: the header cannot be read: {error}; expected column names") from error
    finally:
        csv.field_size_limit(limit)
        lines.close()


class _Lines:
    """The lines of a text file, remembering those of the record that is being read.

    Bytes that are not UTF-8 arrive as lone surrogates.
    """

    def __init__(self, path: Path) -> None:
        self.stream = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        self.number = 0
        self.start = 1
        self.pending: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.stream)
        self.number += 1
        self.pending.append(line)
        return line

    def take(self) -> tuple[int, str]:
        """Return the first line number and the raw text of the record just read, and begin the next."""
        start, raw = self.start, "".join(self.pending).rstrip("\r\n")
        self.start, self.pending = self.number + 1, []
        return start, raw

    def close(self) -> None:
        self.stream.close()


def _header(path: Path, names: list[str]) -> list[str]:
    names = [name or f"column_{position}" for position, name in enumerate(names, start=1)]
    if not names:
        raise SourceError(f"{path}:1: the first line is blank; expected the column names")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"{path}:1: the column {', '.join(twice)} appears twice; give each column its own name")
    if any(escaped(name) is not None for name in names):
        raise SourceError(f"{path}:1: the header is not UTF-8; save the file as UTF-8 (iconv -f LATIN1 -t UTF-8)")
    return names


def _csv_records(path: Path, header: list[str], rows: Iterator[list[str]], lines: _Lines) -> Iterator[Record]:
    lines.take()
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            line, raw = lines.take()
            if "unexpected end" in str(error):
                raise SourceError(
                    f"{path}:{line}: a quote opened here is never closed, so the {lines.number - line + 1} lines from "
                    "here on cannot be read; close it, or double it where it is part of the text"
                ) from error
            yield Record(line, {}, f"malformed: {error} ({path.name}:{line}-{lines.number})", _visible(raw))
            continue
        line, raw = lines.take()
        if not row:
            continue
        if len(row) != len(header):
            fault = f"malformed: {len(row)} fields, the header has {len(header)} ({path.name}:{line})"
            yield Record(line, {}, fault, _visible(raw))
        else:
            yield checked(path, line, dict(zip(header, row, strict=True)))


def _read_json_lines(path: Path) -> Table:
    columns: dict[str, None] = {}
    records = []
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
        for line, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            try:
                value = json.loads(raw)
            except json.JSONDecodeError as error:
                fault = f"malformed: not JSON, {error.msg} at character {error.pos + 1} ({path.name}:{line})"
                records.append(Record(line, {}, fault, _visible(raw.rstrip("\n"))))
                continue
            if not isinstance(value, dict):
                fault = f"malformed: a JSON {type(value).__name__}, expected an object ({path.name}:{line})"
                records.append(Record(line, {}, fault, _visible(raw.rstrip("\n"))))
                continue
            columns |= dict.fromkeys(value)
            records.append(checked(path, line, {name: as_string(entry) for name, entry in value.items()}))
    return Table(list(columns), records)


def _read_lines(path: Path, text: str) -> Table:
    """One document a line; blank lines only separate documents."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
        numbered = [(line, raw.rstrip("\n")) for line, raw in enumerate(stream, start=1)]
    return Table([text], [checked(path, line, {text: raw}) for line, raw in numbered if raw.strip()])


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, partitioning=None)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path} is not a sound Parquet file: {error}; write it again, or set `format`") from error
    # Strings travel as bytes, because Arrow does not look whether they are UTF-8.
    columns = [
        column.cast(pa.large_binary())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        else column
        for column in table.columns
    ]
    values = [[as_string(value) for value in column.to_pylist()] for column in columns]
    names = table.column_names
    rows = zip(*values, strict=True)
    return Table(
        names, [checked(path, number, dict(zip(names, row, strict=True))) for number, row in enumerate(rows, 1)]
    )


def checked(path: Path, line: int, fields: dict[str, str | None]) -> Record:
    """Return the record, with a fault and readable escapes when a value of it is not UTF-8."""
    try:
        "".join(filter(None, fields.values())).encode()
    except UnicodeEncodeError:
        readable = {name: value if value is None else _visible(value) for name, value in fields.items()}
        column, what = next((name, what) for name, value in fields.items() if (what := escaped(value)) is not None)
        return Record(line, readable, f"not UTF-8: {what} in column {_visible(column)} ({path.name}:{line})")
    return Record(line, fields)


def escaped(value: str | None) -> str | None:
    """Return what in the value is not UTF-8, such as `byte 0xe9`; None when it is sound."""
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        code = ord(error.object[error.start])
        return f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"lone surrogate U+{code:04X}"
    return None


def _visible(value: str) -> str:
    r"""Return the value with every byte that is not UTF-8 as `\xe9`, and lone surrogates as `\ud800`."""
    escapes = {
        ord(character): f"\\x{ord(character) - 0xDC00:02x}" for character in value if "\udc80" <= character <= "\udcff"
    }
    return value.translate(escapes).encode("utf-8", "backslashreplace").decode("utf-8")
