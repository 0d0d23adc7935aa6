"""Sequences of different lengths in one array: what texts become on their way to rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Sequences side by side.

    Attributes:
        values: (items,). All sequences, one after the other.
        offsets: (sequences + 1,) int64. Where each one starts; the last is the end.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[np.ndarray], dtype: type = np.uint16) -> Ragged:
        """Return the sequences side by side."""
        offsets = np.cumsum([0, *map(len, sequences)])
        return cls(np.concatenate([np.empty(0, dtype), *sequences]).astype(dtype, copy=False), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self):
            raise IndexError(number)
        sequence: np.ndarray = self.values[self.offsets[number] : self.offsets[number + 1]]
        return sequence

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """Items in each sequence, (sequences,) int64."""
        return np.diff(self.offsets)

    def take(self, numbers: np.ndarray) -> Ragged:
        """Return the sequences of these numbers, in this order; one may come several times."""
        return self.slices(self.offsets[:-1][numbers], self.lengths[numbers])

    def slices(self, starts: np.ndarray, lengths: np.ndarray) -> Ragged:
        """Return the stretches of `values` that begin at `starts` and are `lengths` long, as sequences."""
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # The index is the largest array of all, and four bytes for a number are enough in a block.
        narrow = np.int32 if max(len(self.values), offsets[-1]) < 2**31 else np.int64
        index = np.repeat((starts - offsets[:-1]).astype(narrow), lengths)
        index += np.arange(offsets[-1], dtype=narrow)
        return Ragged(self.values[index], offsets)


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """Return the sequences of all parts, one part after the other; there is one part at least."""
    ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[1:] + start for part, start in zip(parts, ends, strict=False)]
    return Ragged(np.concatenate([part.values for part in parts]), np.concatenate([[0], *offsets]).astype(np.int64))


def join(*parts: Ragged) -> Ragged:
    """Return sequences made of the first sequence of each part, then of the second of each, and so on."""
    count = len(parts[0])
    lengths = np.stack([part.lengths for part in parts], axis=1)  # (sequences, parts)
    shifts = np.cumsum([0, *(len(part.values) for part in parts[:-1])])
    starts = np.stack([part.offsets[:-1] for part in parts], axis=1) + shifts
    whole = Ragged(np.concatenate([part.values for part in parts]), np.empty(0, np.int64))
    pieces = whole.slices(starts.reshape(-1), lengths.reshape(-1))
    return Ragged(pieces.values, pieces.offsets[:: len(parts)] if count else np.zeros(1, np.int64))
