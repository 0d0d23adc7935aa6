"""Which rows an update takes, and how they are folded into micro-batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from grain.experimental import index_shuffle

from pipeline.data.tokens.packing import PackedRows
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.errors import RecipeError

Batch = dict[str, np.ndarray]


class Batches(Protocol):
    """Random access to batches by step."""

    def batch(self, step: int) -> Batch:
        """Return the batch of this optimizer update."""


@dataclass(frozen=True)
class BatchShape:
    """How many rows an optimizer update takes, in how many forward passes, and which of them this process makes.

    Attributes:
        global_batch_size: int. Rows of an update.
        micro_batch_size: int. Rows of a forward pass, on all devices together.
        own: slice or None. Which rows of every micro-batch this process makes; None: all.
    """

    global_batch_size: int
    micro_batch_size: int
    own: slice | None = None

    @classmethod
    def of(cls, global_batch_size: int, micro_batch_size: int | None, shards: int = 1) -> BatchShape:
        """Return the shape in which no micro-batch is larger than the global batch.

        Args:
            global_batch_size: int. Rows of an update.
            micro_batch_size: int or None. Rows of a forward pass on each device; None: all that the device gets.
            shards: int. Parts that the rows of a batch are split into.

        Raises:
            RecipeError: the rows cannot be split into equal parts.
        """
        if global_batch_size % shards:
            raise RecipeError(
                f"global_batch_size is {global_batch_size}, which runtime.mesh splits into {shards} equal parts (data "
                f"x fsdp); make it a multiple of {shards}, or use fewer devices for the batch"
            )
        micro_batch_size = min((micro_batch_size or global_batch_size) * shards, global_batch_size)
        if global_batch_size % micro_batch_size:
            raise RecipeError(
                f"global_batch_size is {global_batch_size}, which is no multiple of a forward pass of "
                f"{micro_batch_size} rows (runtime.micro_batch_size {micro_batch_size // shards} on each of {shards} "
                "parts of runtime.mesh); make one divide the other"
            )
        return cls(global_batch_size, micro_batch_size)

    def fold(self, array: np.ndarray) -> np.ndarray:
        """Return this process's rows, (rows, ...), as (micro_batches, rows of a micro-batch, ...)."""
        return array.reshape(self.global_batch_size // self.micro_batch_size, -1, *array.shape[1:])

    @property
    def positions(self) -> np.ndarray:
        """Which rows of the global batch this process makes, (rows,) int64."""
        folded = np.arange(self.global_batch_size).reshape(-1, self.micro_batch_size)
        return folded[:, self.own or slice(None)].ravel()


@dataclass(frozen=True)
class RowRandom:
    """Random numbers for some rows of a batch: the same ones that these rows get when all are made together.

    Attributes:
        generator: numpy.random.Generator. Of the whole batch.
        positions: (rows,) int64. Which rows of the batch are made.
        rows: int. Of the whole batch.
    """

    generator: np.random.Generator
    positions: np.ndarray
    rows: int

    @classmethod
    def of(cls, seed: Sequence[int], shape: BatchShape) -> RowRandom:
        """Return the random numbers of this process's rows of a batch."""
        return cls(np.random.default_rng(seed), shape.positions, shape.global_batch_size)

    def uniform(self, *shape: int) -> np.ndarray:
        """Return (rows, *shape) float32 from 0 to 1."""
        drawn: np.ndarray = self.generator.random((self.rows, *shape), dtype=np.float32)[self.positions]
        return drawn

    def choice(self, values: np.ndarray, *shape: int) -> np.ndarray:
        """Return (rows, *shape) of the values."""
        drawn: np.ndarray = self.generator.choice(values, (self.rows, *shape))[self.positions]
        return drawn

    def by_row(self) -> list[np.random.Generator]:
        """Return a generator for each row."""
        seeds = self.generator.integers(2**63, size=self.rows)[self.positions]
        return [np.random.default_rng(int(seed)) for seed in seeds]


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
        numbers = self._numbers(step)[self.shape.positions]
        return self._fold(self.make(self.rows.take(numbers), RowRandom.of([self.seed, step], self.shape)))

    def in_order(self) -> Iterator[Batch]:
        """Yield every row once, made the same way every time, for a validation loss that can be compared."""
        for start in range(0, len(self.rows), self.shape.global_batch_size):
            numbers = start + self.shape.positions
            random = RowRandom.of([self.seed, 1, start], self.shape)
            made = self.make(self.rows.take(numbers % len(self.rows)), random)
            made["weights"] = made["weights"] * (numbers < len(self.rows))[:, None].astype(np.float32)
            yield self._fold(made)

    def describe(self, step: int) -> list[dict[str, Any]]:
        """Return which rows and documents the batch of an update holds."""
        return describe_rows(self.rows, self._numbers(step))

    @abstractmethod
    def make(self, rows: PackedRows, random: RowRandom) -> Batch:
        """Return the arrays of these rows, (rows, ...) each; `weights` and `targets` among them."""

    def _numbers(self, step: int) -> np.ndarray:
        return shuffled_rows(step, self.shape.global_batch_size, len(self.rows), self.seed)

    def _fold(self, batch: Batch) -> Batch:
        return {name: self.shape.fold(array) for name, array in batch.items()}
