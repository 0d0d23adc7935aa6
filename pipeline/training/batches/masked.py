"""Masked tokens: what an encoder learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.data.tokens.packing import PackedRows
from pipeline.targets import num_masked
from pipeline.training.batches.order import Batch, CorpusBatches, RowRandom


@dataclass(frozen=True)
class MaskedBatches(CorpusBatches):
    """A fixed number of tokens hidden in every row (Devlin 2018, arXiv 1810.04805: 80/10/10).

    Attributes:
        mask_fraction: float. Share of `sequence_length` that is predicted in every row.
    """

    mask_fraction: float

    def make(self, rows: PackedRows, random: RowRandom) -> Batch:
        """Return token_ids, segment_ids (rows, seq) and positions, targets, weights (rows, predictions)."""
        tokens = rows.token_ids.astype(np.int32)
        predictions = num_masked(tokens.shape[1], self.mask_fraction)
        ordinary = self.vocabulary.ordinary()
        eligible = ordinary[tokens] & (rows.segment_ids > 0)
        score = np.where(eligible, random.uniform(tokens.shape[1]), 2.0)
        positions = np.sort(np.argpartition(score, predictions - 1, axis=1)[:, :predictions], axis=1)
        weights = np.take_along_axis(eligible, positions, axis=1)
        targets = np.take_along_axis(tokens, positions, axis=1)
        fate = random.uniform(predictions)
        strangers = random.choice(np.flatnonzero(ordinary), predictions)
        shown = np.where(fate < 0.8, self.vocabulary.mask, np.where(fate < 0.9, strangers, targets))
        np.put_along_axis(tokens, positions, np.where(weights, shown, targets).astype(np.int32), axis=1)
        return {
            "token_ids": tokens,
            "segment_ids": rows.segment_ids.astype(np.int32),
            "positions": positions.astype(np.int32),
            "targets": targets,
            "weights": weights.astype(np.float32),
        }
