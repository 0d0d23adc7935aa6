"""Masked tokens, and the group that each document is of: what an encoder learns from when rows come in groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.data.tokens.packing import PackedRows
from pipeline.training.batches.masked import MaskedBatches
from pipeline.training.batches.order import Batch, RowRandom

# A document counts its group's size to this power: large groups are often lists of variants of one sentence.
SIZE_POWER = -0.5


@dataclass(frozen=True)
class GroupedBatches(MaskedBatches):
    """Hidden tokens, and of every segment the number of its group.

    Attributes:
        groups: (documents,) int32. The group of each document of the rows; -1 where it has none.
    """

    groups: np.ndarray

    def make(self, rows: PackedRows, random: RowRandom) -> Batch:
        """Return what `MaskedBatches` makes, and groups, group_weights (rows, segments_per_row), 0 of no group.

        Over all rows the group_weights add up to as much as there are predictions, so that the two losses are on a par.
        """
        made = super().make(rows, random)
        found = np.where(rows.documents >= 0, self.groups[rows.documents], -1)  # (rows, segments)
        shares = np.where(found >= 0, self._weights[found], 0).astype(np.float32)
        total = made["positions"].shape[1] * len(self.rows)
        return made | {"groups": np.maximum(found, 0).astype(np.int32), "group_weights": shares * np.float32(total)}

    @property
    def num_groups(self) -> int:
        """How many groups there are."""
        return int(self.groups.max()) + 1

    @cached_property
    def _weights(self) -> np.ndarray:
        """What a document of each group weighs, (groups,) float64; over all documents 1."""
        sizes = np.bincount(self.groups[self.groups >= 0])
        weights: np.ndarray = np.maximum(sizes, 1) ** SIZE_POWER
        weights /= sizes @ weights
        return weights
