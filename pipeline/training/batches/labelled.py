"""Labelled segments: what fine-tuning learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data.tokens.packing import PackedRows
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.shards import ShardedRows
from pipeline.training.batches.order import Batch, BatchShape, describe_rows, shuffled_rows


@dataclass(frozen=True)
class LabelledBatches:
    """Packed rows with the answer to every segment.

    Attributes:
        rows: ShardedRows. A task's split.
        labels: (documents, ...). Answer to each document: a class, a number, or which classes.
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
        """Return token_ids, segment_ids (.., seq), weights (.., segments_per_row) and targets (.., the same, ...)."""
        numbers = self.numbers(step)[self.shape.positions]
        return self._label(numbers, np.ones(len(numbers), bool))

    def in_order(self) -> Iterator[Batch]:
        """Yield every row once."""
        for start in range(0, len(self.rows), self.shape.global_batch_size):
            numbers = start + self.shape.positions
            yield self._label(numbers % len(self.rows), numbers < len(self.rows))

    def describe(self, step: int) -> list[dict[str, Any]]:
        """Return which rows and documents the batch of an update holds."""
        return describe_rows(self.rows, self.numbers(step))

    def numbers(self, step: int) -> np.ndarray:
        """Return which rows the batch of an update holds, in all processes together, (global_batch_size,) int64."""
        return shuffled_rows(step, self.shape.global_batch_size, len(self.rows), self.seed)

    def _label(self, numbers: np.ndarray, counted: np.ndarray) -> Batch:
        rows = self.rows.take(numbers)
        batch = {
            "token_ids": rows.token_ids.astype(np.int32),
            "segment_ids": rows.segment_ids.astype(np.int32),
            **self._answers(rows),
        }
        batch["weights"] = batch["weights"] * counted[:, None].astype(np.float32)
        return {name: self.shape.fold(array) for name, array in batch.items()}

    def _answers(self, rows: PackedRows) -> Batch:
        """Return targets and weights, and what else the objective reads."""
        targets, documents = self._of_segments(rows)
        return {"targets": targets, "weights": (documents >= 0).astype(np.float32)}

    def _of_segments(self, rows: PackedRows) -> tuple[np.ndarray, np.ndarray]:
        """Return label and document of each segment, (rows, segments, ...) and (rows, segments); 0 and -1 of none."""
        spare = self.segments_per_row - rows.documents.shape[1]
        documents = np.pad(rows.documents, ((0, 0), (0, spare)), constant_values=-1)
        targets = self.labels[documents]
        targets[documents < 0] = 0
        return targets, documents


@dataclass(frozen=True)
class TaggedBatches(LabelledBatches):
    """Packed rows with the tag of every word, at its first token.

    Attributes:
        tags: Ragged. For each token of each document the number of its tag; -1 where none is asked for.
    """

    tags: Ragged

    def _answers(self, rows: PackedRows) -> Batch:
        tags = np.full(rows.token_ids.shape, -1, np.int32)  # (rows, seq)
        tags[rows.segment_ids > 0] = self.tags.take(rows.documents[rows.documents >= 0]).values
        return {"targets": np.maximum(tags, 0), "weights": (tags >= 0).astype(np.float32)}


@dataclass(frozen=True)
class AnswerBatches(LabelledBatches):
    """Packed rows with the span that answers each segment; `labels` (documents, 2) are first and last token in it.

    Attributes:
        candidates: Ragged. Which tokens of each document may begin or end a span, 1 or 0.
    """

    candidates: Ragged

    def _answers(self, rows: PackedRows) -> Batch:
        """Return targets (rows, segments, 2), tokens of the row; a segment whose label is -1 weighs nothing."""
        spans, documents = self._of_segments(rows)
        lengths = np.where(documents >= 0, self.candidates.lengths[documents], 0)
        first = np.cumsum(lengths, axis=1) - lengths  # (rows, segments): where each segment begins
        learned = (documents >= 0) & (spans[..., 0] >= 0)
        candidates = np.zeros(rows.token_ids.shape, np.int32)
        candidates[rows.segment_ids > 0] = self.candidates.take(rows.documents[rows.documents >= 0]).values
        return {
            "targets": np.where(learned[..., None], spans + first[..., None], 0).astype(np.int32),
            "weights": learned.astype(np.float32),
            "candidates": candidates,
        }
