"""Packed rows on disk: memory-mapped NumPy shards of bounded size, with an index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.data.packing import PackedRows

PARTS = ("token_ids", "segment_ids", "documents")


def write_shards(rows: PackedRows, folder: Path, rows_per_shard: int) -> None:
    """Write the rows as `00000.token_ids.npy`, ... and `index.json`, last."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(rows), rows_per_shard)
    for number, start in enumerate(starts):
        for part in PARTS:
            np.save(folder / f"{number:05d}.{part}.npy", getattr(rows, part)[start : start + rows_per_shard])
    index = {
        "rows": len(rows),
        "rows_per_shard": rows_per_shard,
        "shards": len(starts),
        "sequence_length": int(rows.token_ids.shape[1]),
        "segments_per_row": int(rows.documents.shape[1]),
        "tokens": int(np.count_nonzero(rows.segment_ids)),
    }
    (folder / "index.json").write_text(json.dumps(index, indent=2))


class ShardedRows:
    """Random access to packed rows that stay on disk.

    Attributes:
        sequence_length: int. Tokens in a row.
        segments_per_row: int. Most documents in a row.
        tokens: int. Tokens that are not padding, in all rows.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.rows: int = index["rows"]
        self.rows_per_shard: int = index["rows_per_shard"]
        self.sequence_length: int = index["sequence_length"]
        self.segments_per_row: int = index["segments_per_row"]
        self.tokens: int = index["tokens"]
        self.shards = [
            {part: np.load(folder / f"{number:05d}.{part}.npy", mmap_mode="r") for part in PARTS}
            for number in range(index["shards"])
        ]

    def __len__(self) -> int:
        return self.rows

    def take(self, rows: np.ndarray) -> PackedRows:
        """Return the rows of these numbers, in this order."""
        shard, offset = np.divmod(rows, self.rows_per_shard)
        parts = {
            part: np.stack([self.shards[s][part][o] for s, o in zip(shard.tolist(), offset.tolist(), strict=True)])
            for part in PARTS
        }
        return PackedRows(**parts)
