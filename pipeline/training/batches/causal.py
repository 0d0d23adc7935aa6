"""Next tokens: what a decoder learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.data.tokens.packing import PackedRows
from pipeline.training.batches.order import Batch, CorpusBatches, RowRandom


@dataclass(frozen=True)
class CausalBatches(CorpusBatches):
    """Every token of a document is predicted from those before it (Radford 2019); none from another document."""

    def make(self, rows: PackedRows, _random: RowRandom) -> Batch:
        """Return token_ids, segment_ids, targets and weights, (rows, seq) each."""
        tokens, segments = rows.token_ids.astype(np.int32), rows.segment_ids.astype(np.int32)
        targets = np.pad(tokens[:, 1:], ((0, 0), (0, 1)), constant_values=self.vocabulary.pad)
        same = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
        return {
            "token_ids": tokens,
            "segment_ids": segments,
            "targets": targets,
            "weights": np.pad(same, ((0, 0), (0, 1))).astype(np.float32),
        }
