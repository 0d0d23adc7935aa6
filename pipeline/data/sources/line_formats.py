"""JSON Lines and plain text, a batch at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from pipeline.data.sources.batches import BYTES, ROWS, Batch, Fault
from pipeline.data.sources.streams import BEGINNING, LONGEST, Block, fault_of
from pipeline.errors import SourceError

# Objects of one kind share their keys; more are most likely values in the place of keys.
MOST_KEYS = 1000


def read_json_lines(blocks: Iterator[Block], address: str) -> Iterator[Batch]:
    """Yield the objects of a file; a line that holds none is a fault, a blank one is nothing.

    Raises:
        SourceError: the objects have ever new keys.
    """
    pile = _Pile()
    for number, line, fault in _lines(blocks, address):
        if not line.strip():
            continue
        record, problem = ({}, None) if fault else _parse(line)
        if problem:
            fault = f"malformed: {problem} ({_file(address)}:{number})"
        pile.add(number, line, record, fault)
        if len(pile.keys) > MOST_KEYS:
            raise SourceError(
                f"{address}:{number}: the objects up to this line have more than {MOST_KEYS} different keys; expected "
                "the same few in each, which become columns"
            )
        if pile.full():
            yield pile.batch()
            pile = _Pile()
    if pile.numbers:
        yield pile.batch()


def read_text(
    blocks: Iterator[Block], document: str, column: str, address: str, pattern: str | None = None
) -> Iterator[Batch]:
    """Yield the documents of a plain text file: its lines, its blocks between blank lines, or the whole of it.

    With a `pattern`, its named groups are the columns, and a document that it does not match is a fault.
    """
    expression = None if pattern is None else re.compile(pattern, re.DOTALL)
    columns = [column] if expression is None else list(expression.groupindex)
    pile = _Pile(*columns)
    lines = _lines(blocks, address)
    for number, text, fault in lines if document == "line" else _documents(lines, document, address):
        if not text.strip():
            continue
        record = {column: text}
        if expression and not fault:
            match = expression.fullmatch(text)
            record = match.groupdict() if match else {}
            fault = None if match else f"malformed: it does not match {pattern} ({_file(address)}:{number})"
        pile.add(number, text, {} if fault else record, fault)
        if pile.full():
            yield pile.batch()
            pile = _Pile(*columns)
    if pile.numbers:
        yield pile.batch()


def read_aligned(blocks: dict[str, Iterator[Block]], text: str, addresses: dict[str, str]) -> Iterator[Batch]:
    """Yield a row for each line of several files, by column; a line that is blank in the file of `text` is none.

    Raises:
        SourceError: a file has more lines than another.
    """
    pile = _Pile(*blocks)
    files = [_lines(own, addresses[column]) for column, own in blocks.items()]
    for lines in zip_longest(*files):
        if None in lines:
            column, other = (list(blocks)[lines.index(end)] for end in (None, next(filter(None, lines))))
            number = next(filter(None, lines))[0]
            raise SourceError(
                f"{addresses[column]} ends before line {number} of {addresses[other]}; expected as many lines in each "
                "of the aligned files, one for each row"
            )
        record = {column: line for column, (_, line, _) in zip(blocks, lines, strict=True)}
        if record[text].strip():
            fault = next((fault for _, _, fault in lines if fault), None)
            pile.add(lines[0][0], record[text], {} if fault else record, fault)
        if pile.full():
            yield pile.batch()
            pile = _Pile(*blocks)
    if pile.numbers:
        yield pile.batch()


def read_conll(blocks: Iterator[Block], text: str, address: str) -> Iterator[Batch]:
    """Yield the sentences of a file that has a word and its tags in each line, and blank lines between sentences.

    Columns: `text`, the words; `column_2` and so on; and `tags`, the last; each with blanks between the words. Lines
    that begin with `# ` or -DOCSTART- are none.
    """
    width, pile = 0, _Pile(text, "tags")
    for number, sentence, cut in _documents(_lines(blocks, address), "block", address):
        rows = [line.split() for line in sentence.split("\n") if not line.startswith(("# ", "-DOCSTART-"))]
        if not rows:
            continue
        width = width or len(rows[0])
        names = [text, *(f"column_{place}" for place in range(2, width)), "tags"]
        odd = next((place for place, row in enumerate(rows) if len(row) != width or width < 2), None)
        fault = cut
        if odd is not None and not fault:
            expected = max(2, width)
            fault = f"malformed: {len(rows[odd])} fields, expected {expected} ({_file(address)}:{number + odd})"
        record = (
            {}
            if fault
            else {name: " ".join(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
        )
        pile.add(number, sentence, record, fault)
        if pile.full():
            yield pile.batch()
            pile = _Pile(*names)
    if pile.numbers:
        yield pile.batch()


class _Pile:
    """Rows on their way to a batch."""

    def __init__(self, *keys: str) -> None:
        self.numbers: list[int] = []
        self.records: list[dict[str, Any]] = []
        self.faults: dict[int, Fault] = {}
        self.keys = dict.fromkeys(keys)
        self.size = 0

    def add(self, number: int, raw: str, record: dict[str, Any], fault: str | None) -> None:
        """Add the row of line `number`, which stands in the file as `raw`; one with a fault has no record."""
        if fault:
            self.faults[len(self.records)] = Fault(fault, raw)
        self.numbers.append(number)
        self.records.append(record)
        if not record.keys() <= self.keys.keys():
            self.keys |= dict.fromkeys(record)
        self.size += len(raw)

    def full(self) -> bool:
        return len(self.records) >= ROWS or self.size >= BYTES

    def batch(self) -> Batch:
        columns = {key: [record.get(key) for record in self.records] for key in self.keys}
        return Batch(self.numbers, columns, self.faults)


def _lines(blocks: Iterator[Block], address: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield number, text and fault of every line."""
    for block in blocks:
        fault = fault_of(block, _file(address)) if block.cut else None
        for number, line in enumerate(block.lines, block.first):
            yield number, line.rstrip("\r\n"), fault


def _parse(line: str) -> tuple[dict[str, Any], str | None]:
    """Return the object of a line, or why it holds none."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return {}, f"not JSON, {error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return {}, f"not JSON that can be read, {error}"
    return (value, None) if isinstance(value, dict) else ({}, f"a JSON {type(value).__name__}, expected an object")


def _documents(
    lines: Iterator[tuple[int, str, str | None]], document: str, address: str
) -> Iterator[tuple[int, str, str | None]]:
    """Yield first line, text and fault of what stands between blank lines, or of the whole file."""
    held: list[str] = []
    start, size, fault = 0, 0, None
    for number, line, cut in lines:
        blank = not line.strip()
        if blank and (document == "block" or not held):
            if held:
                yield start, "\n".join(held), fault
            held, size, fault = [], 0, None
            continue
        start = start if held else number
        size += len(line) + 1
        fault = fault or cut
        if size > LONGEST and not fault:
            fault = f"too long: a document of more than {LONGEST:,} characters ({_file(address)}:{start})"
        if fault:
            held = ["\n".join([*held, line])[:BEGINNING]]
        else:
            held.append(line)
    if held:
        yield start, "\n".join(held).rstrip("\n"), fault


def _file(address: str) -> str:
    return address.rpartition("/")[2]
