"""CSV (RFC 4180) and TSV (quotes are ordinary characters there, as in the IANA type), a batch at a time."""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from pipeline.data.sources.batches import BYTES, ROWS, Batch, Fault
from pipeline.data.sources.columns import require_distinct
from pipeline.data.sources.streams import LONGEST, Block, fault_of
from pipeline.data.sources.values import unsound
from pipeline.errors import SourceError


def read_delimited(
    blocks: Iterator[Block], kind: str, address: str, header: list[str] | None = None, delimiter: str = ","
) -> Iterator[Batch]:
    """Yield the rows of a file of the format `kind` (csv, tsv); a row that cannot be read is a fault.

    The first batch has the header's columns even if the file has no rows. A `header` that is given means that the file
    has none; the `delimiter` is that of csv.

    Raises:
        SourceError: the header cannot be used, or a quote is never closed.
    """
    reader = _Reader(blocks, kind, address, header, delimiter)
    batch = reader.batch()
    while batch.numbers or not reader.batches:
        yield batch
        reader.batches += 1
        batch = reader.batch()


class _Lines:
    """The lines of a file for the csv module, remembering the blocks from line `start` on."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self.blocks = blocks
        self.kept: deque[Block] = deque()
        self.start = 1
        self.size = 0
        self.cut_at: float = math.inf

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks:
            while self.kept and self.kept[0].first + len(self.kept[0].lines) <= self.start:
                self.kept.popleft()
            self.kept.append(block)
            self.size += block.size
            if block.cut:
                self.cut_at = min(self.cut_at, block.first)
                # A quote in what is left of the line would open a field that nothing closes.
                yield block.lines[0].replace('"', "")
            else:
                yield from block.lines

    def raw(self, end: int) -> str:
        """Return the lines from `start` to `end` as they stand in the file."""
        parts = (block.lines[max(0, self.start - block.first) : max(0, end - block.first + 1)] for block in self.kept)
        return "".join(line for part in parts for line in part).rstrip("\r\n")

    def cut(self) -> Block:
        """Return the block whose line was cut."""
        return next(block for block in self.kept if block.first == self.cut_at)

    def go_on(self, start: int) -> None:
        """Begin the next record at line `start`."""
        self.start = start
        self.cut_at = math.inf


class _Reader:
    """The state of a file between two batches."""

    def __init__(
        self, blocks: Iterator[Block], kind: str, address: str, header: list[str] | None, delimiter: str
    ) -> None:
        self.address = address
        self.file = address.rpartition("/")[2]
        self.lines = _Lines(blocks)
        self.batches = 0
        plain = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
        options: dict[str, Any] = plain if kind == "tsv" else {"strict": True, "delimiter": delimiter}
        self.rows = csv.reader(iter(self.lines), **options)
        self.header = self._header() if header is None else _sound_header(f"{address}: header", header)

    def batch(self) -> Batch:
        """Return the next rows, at most `ROWS` of about `BYTES`; a blank line is none."""
        numbers: list[int] = []
        rows: list[Sequence[str | None]] = []
        faults: dict[int, Fault] = {}
        self.lines.size = 0
        with _long_fields():
            while fault := self._sound_rows(numbers, rows):
                faults[len(rows)] = fault
                numbers.append(self.lines.start)
                rows.append([None] * len(self.header))
                self.lines.go_on(self.rows.line_num + 1)
        # With many rows much faster than zip(*rows).
        columns = {name: list(map(itemgetter(column), rows)) for column, name in enumerate(self.header)}
        return Batch(numbers, columns, faults)

    def _sound_rows(self, numbers: list[int], rows: list[Sequence[str | None]]) -> Fault | None:
        """Append sound rows until one is not, and return why; None at the end of the batch or file."""
        width, lines, reader = len(self.header), self.lines, self.rows
        if len(rows) >= ROWS or lines.size >= BYTES:
            return None
        try:
            for row in reader:
                end = reader.line_num
                if len(row) == width and end < lines.cut_at:
                    numbers.append(lines.start)
                    rows.append(row)
                elif row:
                    return self._fault(f"malformed: {len(row)} fields, the header has {width}", f"{lines.start}")
                lines.start = end + 1
                if len(rows) >= ROWS or lines.size >= BYTES:
                    return None
        except csv.Error as error:
            self._raise_if_never_closed(error)
            return self._fault(f"malformed: {error}", f"{lines.start}-{reader.line_num}")
        return None

    def _fault(self, reason: str, place: str) -> Fault:
        raw = self.lines.raw(self.rows.line_num)
        if self.lines.cut_at < math.inf:
            return Fault(fault_of(self.lines.cut(), self.file), raw)
        return Fault(f"{reason} ({self.file}:{place})", raw)

    def _raise_if_never_closed(self, error: csv.Error) -> None:
        start, end = self.lines.start, self.rows.line_num
        remedy = "close it, or double it where it is part of the text"
        if "unexpected end" in str(error):
            raise SourceError(
                f"{self.address}:{start}: a quote opened here is never closed, so the {end - start + 1} lines from "
                f"here on cannot be read; {remedy}"
            ) from error
        if "field limit" in str(error):
            raise SourceError(
                f"{self.address}:{start}: a quote opened here is not closed within {LONGEST:,} characters (line {end} "
                f"is reached); {remedy}"
            ) from error

    def _header(self) -> list[str]:
        try:
            with _long_fields():
                names = next(self.rows, None)
        except csv.Error as error:
            self._raise_if_never_closed(error)
            raise SourceError(f"{self.address}:1: the header cannot be read: {error}; expected column names") from error
        if names is None or self.lines.cut_at < math.inf:
            raise SourceError(f"{self.address}:1: the first line is no header; expected the column names")
        self.lines.go_on(self.rows.line_num + 1)
        if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), None)):
            key, value = ("format", "tsv") if other == "\t" else ("delimiter", f"'{other}'")
            raise SourceError(
                f"{self.address}:1: the header is one column, {names[0]!r}; if {other!r} stands between columns, set "
                f"{key}: {value} in data.sources.SOURCE, or give `tradewind data profile` --{key} {value}"
            )
        return _sound_header(f"{self.address}:1", names)


def _sound_header(where: str, names: list[str]) -> list[str]:
    names = [name or f"column_{position}" for position, name in enumerate(names, start=1)]
    if not names:
        raise SourceError(f"{where}: the first line is blank; expected the column names")
    require_distinct(where, names, "give each column its own name")
    if what := next(filter(None, map(unsound, names)), None):
        remedy = (
            "if it is UTF-16, it needs a byte order mark"
            if what.startswith("NUL")
            else "or name its encoding: data.sources.SOURCE.encoding: latin-1"
        )
        raise SourceError(f"{where}: the header is no text: {what}; save the file as UTF-8 ({remedy})")
    return names


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read fields of up to `LONGEST` characters, for this batch and nobody else."""
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
