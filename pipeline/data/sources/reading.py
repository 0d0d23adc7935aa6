"""The tables of a source, whatever kind it is."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing

import pyarrow as pa

from pipeline.config import Columns, FilesSource, Icd10Source, Source, SqlSource
from pipeline.data.sources import icd10
from pipeline.data.sources.batches import Batch, Place, to_table
from pipeline.data.sources.columns import check_columns
from pipeline.data.sources.delimited import read_delimited
from pipeline.data.sources.files import find_files, several_files
from pipeline.data.sources.line_formats import read_aligned, read_conll, read_json_lines, read_text
from pipeline.data.sources.parquet import read_parquet
from pipeline.data.sources.streams import Block, blocks
from pipeline.data.sources.watched_file import File
from pipeline.errors import SourceError

LARGEST = 32 * 2**20
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".conll": "conll",
}
COMPRESSED = (".gz", ".zst")

logger = logging.getLogger("tradewind")


def tables(name: str, source: Source) -> Iterator[pa.Table]:
    """Yield the tables of a source; see `read_source`."""
    if isinstance(source, Icd10Source):
        wanted = Columns(group=source.group)
        return _tables(icd10.batches(), wanted, name, Place(f"{name}:"))
    if isinstance(source, SqlSource):
        return _query_tables(name, source)
    return _file_tables(name, source)


def _query_tables(name: str, source: SqlSource) -> Iterator[pa.Table]:
    from pipeline.data.sources.database import read_query

    rows = 0
    for table in _tables(read_query(name, source), source, name, Place(f"{name}:")):
        rows += len(table)
        yield table
    if not rows:
        raise SourceError(f"data.sources.{name}: the query gives no rows; expected at least one. Check its conditions")


def _file_tables(name: str, source: FilesSource) -> Iterator[pa.Table]:
    files = find_files(name, source)
    formats = {file.name: _format(name, source, file) for file in files}
    several = several_files(source)
    empty = []
    for file in files:
        prefix = f"{name}:{file.name}:" if several else f"{name}:"
        place = Place(prefix, file.name.rpartition("/")[2], file.split)
        rows = 0
        with file.watched():
            batches = _batches(file, formats[file.name], source)
            for table in _tables(batches, source, f"{name} ({file.address})", place, formats[file.name] == "jsonl"):
                rows += len(table)
                yield table
        if not rows:
            empty.append(f"{file.address} {'holds no rows' if file.size() else 'is empty (0 bytes)'}")
    if len(empty) == len(files):
        raise SourceError(
            f"data.sources.{name}: {'; '.join(empty[:5])}; expected at least one row. Was it written to the end?"
        )
    for what in empty:
        logger.warning("data.sources.%s: %s; the rows of the other files are read", name, what)


def _tables(
    batches: Generator[Batch], wanted: Columns, where: str, place: Place, columns_vary: bool = False
) -> Iterator[pa.Table]:
    """Yield the batches as tables; check the columns at the first, or at the end where each row may have its own."""
    seen: dict[str, None] = {}
    with closing(batches):
        for number, batch in enumerate(batches):
            seen |= dict.fromkeys(batch.columns)
            if not columns_vary and not number:
                check_columns(where, wanted, list(seen), splits=place.split is not None)
            if batch.numbers:
                yield from _cut(to_table(batch, wanted, place))
    if columns_vary and seen:
        check_columns(where, wanted, list(seen), splits=place.split is not None)


def _batches(file: File, kind: str, source: FilesSource) -> Generator[Batch]:
    if file.size() == 0:
        return
    with file.open() as stream:
        if kind == "parquet":
            yield from read_parquet(stream, _wanted(source), file.address)
            return
        lines = blocks(stream, file.address, source.encoding)
        if kind == "jsonl":
            yield from read_json_lines(lines, file.address)
        elif kind == "conll":
            yield from read_conll(lines, source.text, file.address)
        elif kind == "text" and source.aligned:
            yield from _aligned(file, lines, source)
        elif kind == "text":
            yield from read_text(lines, source.document, source.text, file.address, source.pattern)
        else:
            yield from read_delimited(lines, kind, file.address, source.header, source.delimiter)


def _aligned(file: File, lines: Iterator[Block], source: FilesSource) -> Iterator[Batch]:
    """Yield the rows of a file and of those beside it."""
    with ExitStack() as open_files:
        read, addresses = {source.text: lines}, {source.text: file.address}
        for column, other in file.beside.items():
            open_files.enter_context(other.watched())
            stream = open_files.enter_context(other.open())
            read[column] = blocks(stream, other.address, source.encoding)
            addresses[column] = other.address
        yield from read_aligned(read, source.text, addresses)


def _wanted(source: Columns) -> list[str] | None:
    """Return every column the recipe names; None for all there are."""
    if source.columns is None:
        return None
    mapped = (source.text, source.text_pair, source.label, source.id, source.group)
    return [*source.columns, *(column for column in mapped if column)]


def _cut(table: pa.Table) -> Iterator[pa.Table]:
    """Yield the table in pieces of at most about `LARGEST` bytes, or of one row."""
    if len(table) > 1 and table.nbytes > LARGEST:
        middle = len(table) // 2
        yield from _cut(table.slice(0, middle))
        yield from _cut(table.slice(middle))
    else:
        yield table


def _format(name: str, source: FilesSource, file: File) -> str:
    if source.format != "auto":
        return source.format
    if source.aligned or source.pattern:
        return "text"
    base = file.name.rpartition("/")[2].partition("?")[0].lower()
    for suffix in COMPRESSED:
        base = base.removesuffix(suffix)
    suffix = f".{base.rpartition('.')[2]}" if "." in base else ""
    if kind := FORMATS.get(suffix):
        return kind
    raise SourceError(
        f"data.sources.{name}: the format of {file.address} does not show in its suffix {suffix!r}; expected one of "
        f"{', '.join(FORMATS)}, or set data.sources.{name}.format to csv, tsv, jsonl, parquet, text or conll"
    )


def first_batch(name: str, source: Source) -> Batch | None:
    """Return the first rows as they stand in the source, before any of its columns is called something else.

    Raises:
        SourceError: nothing there, or unreadable.
    """
    if isinstance(source, Icd10Source):
        return next(icd10.batches(), None)
    if isinstance(source, SqlSource):
        from pipeline.data.sources.database import read_query

        return next(read_query(name, source), None)
    for file in find_files(name, source):
        with closing(_batches(file, _format(name, source, file), source)) as batches:
            for batch in batches:
                if batch.numbers:
                    return batch
    return None
