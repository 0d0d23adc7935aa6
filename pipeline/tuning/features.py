"""What a frozen backbone says of the rows: computed once, kept in a file, and learnt from in place of the tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from models.freezing import Pooler
from pipeline.progress import Progress
from pipeline.store.files import sync_folder
from pipeline.training.batches import Batch, LabelledBatches

INPUTS = ("token_ids", "segment_ids")


@dataclass(frozen=True)
class FeatureBatches:
    """The batches of labelled rows with the rows' features in place of their tokens.

    Attributes:
        batches: LabelledBatches. Of the same rows.
        features: (rows, segments, hidden) float32.
    """

    batches: LabelledBatches
    features: np.ndarray

    def batch(self, step: int) -> Batch:
        """Return the batch of an update."""
        return self._replaced(self.batches.batch(step), self.batches.numbers(step)[self.batches.shape.positions])

    def in_order(self) -> Iterator[Batch]:
        """Yield every row once."""
        shape = self.batches.shape
        for index, batch in enumerate(self.batches.in_order()):
            yield self._replaced(batch, (index * shape.global_batch_size + shape.positions) % len(self.features))

    def describe(self, step: int) -> list[dict[str, Any]]:
        """Return which rows and documents the batch of an update holds."""
        return self.batches.describe(step)

    def _replaced(self, batch: Batch, numbers: np.ndarray) -> Batch:
        kept = {name: array for name, array in batch.items() if name not in INPUTS}
        return kept | {"features": self.batches.shape.fold(self.features[numbers])}


def with_features(model: keras.Model, batches: LabelledBatches, file: Path, progress: Progress) -> FeatureBatches:
    """Return the batches with what the model's head sees of every row.

    Args:
        model: keras.Model. Built, with `pool`; its backbone stays as it is.
        batches: LabelledBatches. Of one split.
        file: Path. A .npy file, read where it exists: an interrupted step wrote it from the same backbone.
        progress: Progress. Told how many rows there are.
    """
    if not file.exists():
        progress.say(f"computing the features of {len(batches.rows):,} {file.stem} rows, once")
        found = _compute(model, batches)
        draft = file.with_suffix(".draft")
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            np.save(stream, found)
        sync_folder(draft)
        draft.replace(file)
    return FeatureBatches(batches, np.load(file, mmap_mode="r"))


def _compute(model: keras.Model, batches: LabelledBatches) -> np.ndarray:
    pooler = Pooler(model)
    parts = []
    for batch in batches.in_order():
        for number in range(len(batch["weights"])):
            inputs = {name: batch[name][number] for name in INPUTS}
            parts.append(np.asarray(pooler.predict_on_batch(inputs)).astype(np.float32))
    features: np.ndarray = np.concatenate(parts)[: len(batches.rows)]
    return features
