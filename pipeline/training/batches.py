"""Batches as pure functions of the step, so that resuming needs no state and costs the same at any step.

A batch is a dictionary of arrays shaped (micro_batches, micro_batch_size, ...); a row number that repeats the end of
the data carries weight 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True)
class MaskedBatches:
    """Packed rows with a fixed number of tokens hidden in each (Devlin 2018, arXiv 1810.04805: 80/10/10).

    Attributes:
        rows: ShardedRows. The corpus.
        shape: BatchShape. Rows per update and per forward pass.
        vocabulary: Vocabulary. Which tokens may be hidden, and what stands in their place.
        mask_fraction: float. Share of `sequence_length` that is predicted in every row.
        seed: int. Of order and masks.
    """

    rows: ShardedRows
    shape: BatchShape
    vocabulary: Vocabulary
    mask_fraction: float
    seed: int

    def batch(self, step: int) -> Batch:
        """Return token_ids, segment_ids (.., seq) and positions, targets, weights (.., predictions)."""
        numbers = shuffled_rows(step, self.shape.global_batch_size, len(self.rows), self.seed)
        return self._mask(self.rows.take(numbers), np.random.default_rng([self.seed, step]))

    def in_order(self) -> Iterator[Batch]:
        """Yield every row once with masks that never change, for a validation loss that can be compared."""
        for start in range(0, len(self.rows), self.shape.global_batch_size):
            numbers = np.arange(start, start + self.shape.global_batch_size)
            batch = self._mask(self.rows.take(numbers % len(self.rows)), np.random.default_rng([self.seed, 1, start]))
            batch["weights"] *= self.shape.fold(numbers < len(self.rows))[..., None]
            yield batch

    def _mask(self, rows: PackedRows, random: np.random.Generator) -> Batch:
        tokens = rows.token_ids.astype(np.int32)
        predictions = max(1, round(self.mask_fraction * tokens.shape[1]))
        ordinary = self.vocabulary.ordinary()
        eligible = ordinary[tokens] & (rows.segment_ids > 0)
        score = np.where(eligible, random.random(tokens.shape, dtype=np.float32), 2.0)
        positions = np.sort(np.argpartition(score, predictions - 1, axis=1)[:, :predictions], axis=1)
        weights = np.take_along_axis(eligible, positions, axis=1)
        targets = np.take_along_axis(tokens, positions, axis=1)
        fate = random.random(positions.shape, dtype=np.float32)
        strangers = random.choice(np.flatnonzero(ordinary), positions.shape)
        shown = np.where(fate < 0.8, self.vocabulary.mask, np.where(fate < 0.9, strangers, targets))
        np.put_along_axis(tokens, positions, np.where(weights, shown, targets).astype(np.int32), axis=1)
        batch = {
            "token_ids": tokens,
            "segment_ids": rows.segment_ids.astype(np.int32),
            "positions": positions.astype(np.int32),
            "targets": targets,
            "weights": weights.astype(np.float32),
        }
        return {name: self.shape.fold(array) for name, array in batch.items()}


@dataclass(frozen=True)
class LabelledBatches:
    """Packed rows with the class of every segment.

    Attributes:
        rows: ShardedRows. A task's split.
        labels: (documents,) int32. Class of each document.
        segments_per_row: int. Width of targets; at least that of `rows`.
        shape: BatchShape. Rows per update and per forward pass.
        seed: int. Of the order.
    """

    rows: ShardedRows
    labels: np.ndarray
    segments_per_row: int
    shape: BatchShape
    seed: int

    def batch(self, step: int) -> Batch:
        """Return token_ids, segment_ids (.., seq) and targets, weights (.., segments_per_row)."""
        numbers = shuffled_rows(step, self.shape.global_batch_size, len(self.rows), self.seed)
        return self._label(numbers, np.ones(len(numbers), bool))

    def in_order(self) -> Iterator[Batch]:
        """Yield every row once."""
        for start in range(0, len(self.rows), self.shape.global_batch_size):
            numbers = np.arange(start, start + self.shape.global_batch_size)
            yield self._label(numbers % len(self.rows), numbers < len(self.rows))

    def _label(self, numbers: np.ndarray, counted: np.ndarray) -> Batch:
        rows = self.rows.take(numbers)
        spare = self.segments_per_row - rows.documents.shape[1]
        documents = np.pad(rows.documents, ((0, 0), (0, spare)), constant_values=-1)
        batch = {
            "token_ids": rows.token_ids.astype(np.int32),
            "segment_ids": rows.segment_ids.astype(np.int32),
            "targets": np.where(documents >= 0, self.labels[documents], 0).astype(np.int32),
            "weights": ((documents >= 0) & counted[:, None]).astype(np.float32),
        }
        return {name: self.shape.fold(array) for name, array in batch.items()}
