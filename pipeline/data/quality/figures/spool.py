"""Counting by key in bounded memory: 64-bit hashes, in memory while they are few and on disk when they are many.

A hash stands for its value. Among n values, two that differ share a hash with a probability of n^2 / 2^65: one in
twenty thousand for 40 million.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

PART_BITS = 6
BYTES_IN_MEMORY = 64 * 2**20
KEYS_IN_MEMORY = 2**20
KEYS_PER_RUN = 2**24


def hash_strings(strings: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return a hash of each string, (n,) uint64, the same in every process and on every machine; null hashes as ""."""
    values = pc.fill_null(strings, "").to_numpy(zero_copy_only=False)
    hashes: np.ndarray = pd.util.hash_array(values, categorize=False)
    return hashes


class Spool:
    """Records with a 64-bit key, to be read back sorted by it: in 2^PART_BITS parts, by the key's first bits."""

    def __init__(self, folder: Path, fields: list[tuple[str, str]]) -> None:
        self.folder = folder
        self.dtype = np.dtype([("key", "u8"), *fields])
        self.waiting: list[np.ndarray] = []
        self.bytes = 0
        self.spilled = False

    def add(self, key: np.ndarray, **fields: np.ndarray | int) -> None:
        """Add records: `key` (n,) uint64, and each field of `dtype`."""
        records = np.empty(len(key), self.dtype)
        records["key"] = key
        for name, values in fields.items():
            records[name] = values
        self.waiting.append(records)
        self.bytes += records.nbytes
        if self.bytes > BYTES_IN_MEMORY:
            self._spill()

    def parts(self) -> Iterator[np.ndarray]:
        """Yield the records sorted by key, in parts; equal keys are in one part."""
        if not self.spilled:
            yield self._sorted(self._waiting())
            return
        self._spill()
        for path in sorted(self.folder.iterdir()):
            yield self._sorted(np.fromfile(path, self.dtype))

    def _waiting(self) -> np.ndarray:
        return np.concatenate([np.empty(0, self.dtype), *self.waiting])

    def _spill(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        records = self._waiting()
        part = records["key"] >> np.uint64(64 - PART_BITS)
        for number in np.unique(part):
            with (self.folder / f"{number:02d}").open("ab") as stream:
                records[part == number].tofile(stream)
        self.waiting, self.bytes, self.spilled = [], 0, True

    def _sorted(self, records: np.ndarray) -> np.ndarray:
        return records[np.argsort(records["key"], kind="stable")]


def group_starts(records: np.ndarray) -> np.ndarray:
    """Return where each key begins among sorted records, (keys,) int64."""
    keys = records["key"]
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)


class FirstRows:
    """Which row had a key first, asked while the rows stream by.

    Sorted runs of keys with their rows; two of a size are merged, so there are few. Large ones are files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[tuple[np.ndarray, np.ndarray]] = []
        self.files = 0

    def add(self, keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Take the keys (n,) uint64 of rows, whose `numbers` (n,) rise; return the row that had each before, or -1."""
        if not len(keys):
            return np.empty(0, np.int64)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        firsts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        owners = numbers[order[firsts]]  # (distinct,): the first row here that has the key
        for known, rows in self.runs:
            at = np.minimum(np.searchsorted(known, ordered[firsts]), len(known) - 1)
            owners = np.where(known[at] == ordered[firsts], rows[at], owners)
        new = owners >= numbers[0]
        if new.any():
            self._keep(ordered[firsts][new], owners[new])
        first = np.empty(len(keys), np.int64)
        first[order] = np.repeat(owners, np.diff(np.append(firsts, len(keys))))
        return np.where(first == numbers, -1, first)

    def _keep(self, keys: np.ndarray, rows: np.ndarray) -> None:
        while self.runs and len(self.runs[-1][0]) <= len(keys) and 2 * len(keys) <= KEYS_PER_RUN:
            older, its_rows = self.runs.pop()
            keys, rows = np.concatenate([older, keys]), np.concatenate([its_rows, rows])
            order = np.argsort(keys, kind="stable")
            keys, rows = keys[order], rows[order]
        self.runs.append((self._stored(keys), self._stored(rows)) if len(keys) > KEYS_IN_MEMORY else (keys, rows))

    def _stored(self, values: np.ndarray) -> np.ndarray:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.files}.npy"
        self.files += 1
        np.save(path, values)
        stored: np.ndarray = np.load(path, mmap_mode="r")
        return stored
