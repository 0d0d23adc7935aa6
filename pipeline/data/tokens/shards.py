"""Packed rows on disk: memory-mapped NumPy shards of bounded size, with an index.

    index.json            rows, tokens, ..., and each shard with its number of rows
    00000-000.token_ids.npy, 00000-000.segment_ids.npy, 00000-000.documents.npy, ...

A shard belongs to one block of the input, so blocks are written side by side and in any order; the index, written last,
puts them in theirs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.data.tokens.packing import PackedRows

PARTS = ("token_ids", "segment_ids", "documents")


@dataclass(frozen=True)
class Shard:
    """One shard of an index.

    Attributes:
        name: str. What its files' names begin with.
        rows: int. Packed rows.
        tokens: int. Tokens that are not padding.
        segments_per_row: int. Most documents in a row.
        first_document: int. What its document numbers count from.
    """

    name: str
    rows: int
    tokens: int
    segments_per_row: int
    first_document: int = 0


def write_shards(rows: PackedRows, folder: Path, block: int, rows_per_shard: int) -> list[Shard]:
    """Write the rows of one block of the input; return what the index has to know of them."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, start in enumerate(range(0, len(rows), rows_per_shard)):
        name = f"{block:05d}-{number:03d}"
        parts = {part: getattr(rows, part)[start : start + rows_per_shard] for part in PARTS}
        for part, array in parts.items():
            save_array(folder / f"{name}.{part}.npy", array)
        count, width = parts["documents"].shape
        shards.append(Shard(name, count, int(np.count_nonzero(parts["segment_ids"])), width))
    return shards


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy, such that a full disk is told by its own error, which `numpy.save` to a file hides."""
    with path.open("wb") as file:
        np.save(_Stream(file), array)


def write_index(
    shards: Sequence[Shard],
    folder: Path,
    sequence_length: int,
    tokenizer: str | None = None,
    text_bytes: int | None = None,
) -> None:
    """Write `index.json`, which makes the shards readable.

    Args:
        shards: sequence of Shard. In the order of their blocks.
        folder: Path. Where they are.
        sequence_length: int. Tokens in a row.
        tokenizer: str or None. The sha256 of the tokenizer's file.
        text_bytes: int or None. UTF-8 bytes of the texts that the tokens stand for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = {
        "rows": sum(shard.rows for shard in shards),
        "tokens": sum(shard.tokens for shard in shards),
        "sequence_length": sequence_length,
        "segments_per_row": max((shard.segments_per_row for shard in shards), default=1),
        "tokenizer": tokenizer,
        "text_bytes": text_bytes,
        "shards": [asdict(shard) for shard in shards],
    }
    (folder / "index.json").write_text(json.dumps(index, indent=2))


class _Stream:
    """A file that NumPy does not recognise as one, and so writes to through Python."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


class ShardedRows:
    """Random access to packed rows that stay on disk.

    Attributes:
        sequence_length: int. Tokens in a row.
        segments_per_row: int. Most documents in a row.
        tokens: int. Tokens that are not padding, in all rows.
        tokenizer: str or None. The sha256 of the file of the tokenizer that made the tokens; None: not known.
        text_bytes: int or None. UTF-8 bytes of the texts that the tokens stand for; None: not known.
        arrays: list of dict. The memory-mapped parts of each shard.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.rows: int = index["rows"]
        self.sequence_length: int = index["sequence_length"]
        self.segments_per_row: int = index["segments_per_row"]
        self.tokens: int = index["tokens"]
        self.tokenizer: str | None = index.get("tokenizer")
        self.text_bytes: int | None = index.get("text_bytes")
        self._shards = [Shard(**shard) for shard in index["shards"]]
        self._ends = np.cumsum([shard.rows for shard in self._shards])
        self.arrays = [
            {part: np.load(folder / f"{shard.name}.{part}.npy", mmap_mode="r") for part in PARTS}
            for shard in self._shards
        ]

    def __len__(self) -> int:
        return self.rows

    def take(self, rows: np.ndarray) -> PackedRows:
        """Return the rows of these numbers, in this order; `documents` counts over all shards."""
        owners = np.searchsorted(self._ends, rows, side="right")
        taken = [self._row(int(owner), int(row)) for owner, row in zip(owners, rows, strict=True)]
        return PackedRows(*(np.stack(part) for part in zip(*taken, strict=True)))

    def _row(self, owner: int, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shard, arrays = self._shards[owner], self.arrays[owner]
        number = row - int(self._ends[owner]) + shard.rows
        documents = np.full(self.segments_per_row, -1, np.int32)
        own = arrays["documents"][number]
        documents[: len(own)] = np.where(own >= 0, own + shard.first_document, -1)
        return arrays["token_ids"][number], arrays["segment_ids"][number], documents
