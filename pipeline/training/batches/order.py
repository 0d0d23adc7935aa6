"""Which rows an update takes, and how they are folded into micro-batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from grain.experimental import index_shuffle

from pipeline.data.tokens.packing import PackedRows
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.vocabulary import Vocabulary

Batch = dict[str, np.ndarray]


class Batches(Protocol):
    """Random access to batches by step."""

    def batch(self, step: int) -> Batch:
        """Return the batch of this optimizer update."""


@dataclass(frozen=True)
class BatchShape:
    """How many rows an optimizer update takes, and in how many forward passes."""

    global_batch_size: int
    micro_batch_size: int

    @classmethod
    def of(cls, global_batch_size: int, micro_batch_size: int | None) -> BatchShape:
        """Return the shape; a micro-batch is never larger than the global batch."""
        return cls(global_batch_size, min(micro_batch_size or global_batch_size, global_batch_size))

    def fold(self, array: np.ndarray) -> np.ndarray:
        """Return (global_batch, ...) as (micro_batches, micro_batch, ...)."""
        return array.reshape(-1, self.micro_batch_size, *array.shape[1:])


def shuffled_rows(step: int, batch_size: int, rows: int, seed: int) -> np.ndarray:
    """Return the row numbers, (batch_size,) int64, of one step of an endless stream reshuffled every epoch.

    A keyed permutation of the index (Grain's index shuffle), so no permutation is ever held in memory.
    """
    epoch, position = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), rows)
    if rows == 1:
        return position
    shuffled = [
        index_shuffle(int(p), rows - 1, seed=(seed + 1_000_003 * int(e)) % 2**32, rounds=4)
        for e, p in zip(epoch, position, strict=True)
    ]
    return np.array(shuffled, dtype=np.int64)


def describe_rows(rows: ShardedRows, numbers: np.ndarray) -> list[dict[str, Any]]:
    """Return which rows these are and which documents they hold, for a person to look at."""
    documents = rows.take(numbers).documents
    return [
        {"row": int(number), "documents": [int(document) for document in own if document >= 0]}
        for number, own in zip(numbers, documents, strict=True)
    ]


@dataclass(frozen=True)
class CorpusBatches(ABC):
    """Packed rows of the corpus, turned into something to predict.

    Attributes:
        rows: ShardedRows. The corpus.
        shape: BatchShape. Rows per update and per forward pass.
        vocabulary: Vocabulary. Which tokens stand for text, and which for something else.
        seed: int. Of the order, and of what is hidden.
    """

    rows: ShardedRows
    shape: BatchShape
    vocabulary: Vocabulary
    seed: int

    def batch(self, step: int) -> Batch:
        """Return the batch of an update; `make` says what it holds."""
        return self._fold(self.make(self.rows.take(self._numbers(step)), np.random.default_rng([self.seed, step])))

    def in_order(self) -> Iterator[Batch]:
        """Yield every row once, made the same way every time, for a validation loss that can be compared."""
        for start in range(0, len(self.rows), self.shape.global_batch_size):
            numbers = np.arange(start, start + self.shape.global_batch_size)
            made = self.make(self.rows.take(numbers % len(self.rows)), np.random.default_rng([self.seed, 1, start]))
            made["weights"] = made["weights"] * (numbers < len(self.rows))[:, None].astype(np.float32)
            yield self._fold(made)

    def describe(self, step: int) -> list[dict[str, Any]]:
        """Return which rows and documents the batch of an update holds."""
        return describe_rows(self.rows, self._numbers(step))

    @abstractmethod
    def make(self, rows: PackedRows, random: np.random.Generator) -> Batch:
        """Return the arrays of these rows, (rows, ...) each; `weights` and `targets` among them."""

    def _numbers(self, step: int) -> np.ndarray:
        return shuffled_rows(step, self.shape.global_batch_size, len(self.rows), self.seed)

    def _fold(self, batch: Batch) -> Batch:
        return {name: self.shape.fold(array) for name, array in batch.items()}
