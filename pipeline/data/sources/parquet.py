"""Parquet, a batch at a time, whatever the size of its row groups."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.sources.batches import BYTES, ROWS, Batch
from pipeline.data.sources.columns import require_distinct
from pipeline.errors import SourceError

# Without a buffer of its own, and with pre_buffer, a column chunk is read whole, and a file may have a single one.
BUFFER = 2**20
# Rows read at once: a value that a file stores once may come in every row.
FETCH = 1024


def read_parquet(stream: io.BufferedReader, wanted: Sequence[str] | None, address: str) -> Iterator[Batch]:
    """Yield the rows of a file, with the `wanted` columns of those it has (None: all); the first batch may be empty.

    Raises:
        SourceError: the file is no sound Parquet file.
    """
    done = fetched = 0

    def batches(file: pq.ParquetFile, names: list[str]) -> Iterator[pa.RecordBatch]:
        nonlocal fetched
        for batch in file.iter_batches(FETCH, columns=names, use_threads=False):
            fetched += len(batch)
            yield batch

    try:
        file = pq.ParquetFile(stream, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True)
        require_distinct(address, file.schema_arrow.names, "give each column its own name")
        names = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
        columns = {name: pa.array([], pa.string()) for name in file.schema_arrow.names}
        yield Batch([], columns)
        for table in _piled(batches(file, names)):
            numbers = range(done + 1, done + len(table) + 1)
            yield Batch(numbers, {name: _strings(table[name].combine_chunks()) for name in names})
            done += len(table)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise SourceError(
            f"{address} is not a sound Parquet file (after {fetched:,} rows: {error}); write it again, or set `format`"
        ) from error


def _piled(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows in tables of at most `ROWS` and about `BYTES`."""
    pile: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if rows + len(batch) > ROWS or size >= BYTES:
            yield pa.Table.from_batches(pile)
            pile, rows, size = [], 0, 0
        pile.append(batch)
        rows += len(batch)
        size += batch.nbytes
    if pile:
        yield pa.Table.from_batches(pile)


def _strings(array: pa.Array) -> pa.Array | list[object]:
    """Return the values as strings where Arrow does it as `as_string` would, else as they are."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return array.cast(pa.large_binary()).to_pylist()
        return array.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind) and kind.bit_width < 64:
        return _short_floats(array)
    return array.to_pylist()


def _short_floats(array: pa.Array) -> list[float | None]:
    """Return floats of few bits by their shortest decimals: 0.1, not 0.10000000149011612."""
    return [None if value is None else float(value) for value in array.cast(pa.string()).to_pylist()]
