"""Sound rows on disk: Parquet files of bounded size, in the order of the source, every column a string.

    rows/<source>/00000.parquet, 00001.parquet, ...

A file is the unit of work of `preprocess`. Columns may differ between the files of a source, because they did between
the files it came from; a reader names the columns that it needs and gets nulls where a file has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_PER_FILE = 65_536
BYTES_PER_FILE = 32 * 2**20
RESERVED = ("row_id", "text", "text_pair", "group", "split")


class RowsWriter:
    """Collects tables and writes them as files of at most `ROWS_PER_FILE` rows and about `BYTES_PER_FILE` bytes.

    Where files are cut depends only on the rows, not on the tables they arrive in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pending: list[pa.Table] = []
        self.rows = 0
        self.bytes = 0
        self.files = 0

    def write(self, table: pa.Table) -> None:
        """Add the rows of a table; all its columns are strings."""
        while len(table):
            room = self._fitting(table)
            if not room:
                self._flush()
                continue
            self._add(table.slice(0, room))
            table = table.slice(room)

    def close(self) -> None:
        """Write what is left."""
        self._flush()

    def _add(self, table: pa.Table) -> None:
        self.pending.append(table)
        self.rows += len(table)
        self.bytes += int(_sizes(table).sum())

    def _fitting(self, table: pa.Table) -> int:
        """Return how many of the table's first rows fit into the open file; one always fits into an empty file."""
        import numpy as np

        totals = np.cumsum(_sizes(table)) + self.bytes
        fitting = min(int(np.searchsorted(totals, BYTES_PER_FILE, side="right")), ROWS_PER_FILE - self.rows)
        return fitting if self.rows else max(1, fitting)

    def _flush(self) -> None:
        if not self.pending:
            return
        table = pa.concat_tables(self.pending, promote_options="default")
        pq.write_table(table.combine_chunks(), self.folder / f"{self.files:05d}.parquet", compression="zstd")
        self.files += 1
        self.pending, self.rows, self.bytes = [], 0, 0


def row_files(rows: Path, source: str) -> list[Path]:
    """Return the files of a source, in order, below the `rows` folder of a `validate` artifact."""
    return sorted((rows / source).glob("*.parquet"))


def read_rows(path: Path, columns: Sequence[str]) -> pa.Table:
    """Return these columns of a file, as strings; a column that the file has not is all null."""
    present = set(pq.read_schema(path).names)
    table = pq.read_table(path, columns=[name for name in columns if name in present], partitioning=None)
    return pa.table(
        {name: table[name] if name in present else pa.nulls(len(table), pa.string()) for name in columns},
        schema=pa.schema([(name, pa.string()) for name in columns]),
    )


def row_columns(files: Iterable[Path]) -> list[str]:
    """Return the columns that any of the files has, in the order of first appearance."""
    return list(dict.fromkeys(name for path in files for name in pq.read_schema(path).names))


def _sizes(table: pa.Table) -> pa.Array:
    """Return the bytes of each row's text and second text, (rows,) int64."""
    total = pc.fill_null(pc.binary_length(table["text"]), 0).to_numpy().astype("int64")
    if "text_pair" in table.column_names:
        total = total + pc.fill_null(pc.binary_length(table["text_pair"]), 0).to_numpy()
    return total
