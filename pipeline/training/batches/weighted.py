"""Classes of unequal size, balanced by the weight of their items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.training.batches.order import Batch, Batches


@dataclass(frozen=True)
class WeightedBatches:
    """Another's batches, in which every item weighs what its class does.

    The loss is a sum over weights divided by their sum in the global batch, so accumulation stays exact.

    Attributes:
        batches: Batches. Of whole numbers as `targets`.
        class_weights: (classes,) float32.
    """

    batches: Batches
    class_weights: np.ndarray

    def batch(self, step: int) -> Batch:
        """Return the batch of an update."""
        batch = self.batches.batch(step)
        return batch | {"weights": batch["weights"] * self.class_weights[batch["targets"]]}

    def describe(self, step: int) -> list[dict[str, Any]]:
        """Return which rows and documents the batch of an update holds."""
        described: list[dict[str, Any]] = self.batches.describe(step)  # type: ignore[attr-defined]
        return described


def class_weights(classes: np.ndarray, number: int, kind: Literal["balanced", "inverse_sqrt"]) -> np.ndarray:
    """Return the weight of each class, (number,) float32; their mean over the items is 1.

    Args:
        classes: (items,) int. Class of every item of the training data.
        number: int. Classes.
        kind: str. `balanced`: all classes weigh alike; `inverse_sqrt`: a class weighs as the root of its size.
    """
    sizes = np.bincount(classes, minlength=number)
    raw = np.maximum(sizes, 1.0) ** (-1.0 if kind == "balanced" else -0.5)
    mean = (raw * sizes).sum() / sizes.sum()
    weights: np.ndarray = (raw / mean).astype(np.float32)
    return weights
