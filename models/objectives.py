"""Training objectives: each returns sums, not means, so that micro-batches of unequal size add up exactly."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from models.layers import Tensor


class Sums(NamedTuple):
    """What one micro-batch adds to its global batch; all are scalars in float32."""

    loss: Tensor
    weight: Tensor
    correct: Tensor


def masked_tokens(model: keras.Model, batch: dict[str, Tensor], training: bool) -> Sums:
    """Cross-entropy of the hidden tokens: `targets` and `weights` are (batch, predictions)."""
    logits = model(batch, training=training)
    return weighted_cross_entropy(logits, batch["targets"], batch["weights"])


def segment_labels(model: keras.Model, batch: dict[str, Tensor], training: bool, label_smoothing: float = 0.0) -> Sums:
    """Cross-entropy of the segments' classes, smoothed in training only: `targets`, `weights` are (batch, segments)."""
    logits = model(batch, training=training)
    return weighted_cross_entropy(logits, batch["targets"], batch["weights"], label_smoothing if training else 0.0)


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, label_smoothing: float = 0.0) -> Sums:
    """Return the weighted sum of -log softmax(logits)[target], the sum of weights, and the weight answered right.

    Args:
        logits: (batch, items, classes), any float type; summed in float32.
        targets: (batch, items) int32.
        weights: (batch, items) float32; 0 leaves an item out.
        label_smoothing: float. Share of the target that is spread over all classes (Szegedy 2015, arXiv 1512.00567).
    """
    logits = ops.cast(logits, "float32")
    wanted = ops.squeeze(ops.take_along_axis(logits, targets[:, :, None], axis=-1), axis=-1)  # (batch, items)
    if label_smoothing:
        wanted = (1 - label_smoothing) * wanted + label_smoothing * ops.mean(logits, axis=-1)
    losses = ops.logsumexp(logits, axis=-1) - wanted  # (batch, items)
    right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), targets.dtype), targets), "float32")
    return Sums(ops.sum(losses * weights), ops.sum(weights), ops.sum(right * weights))
