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


def segment_labels(model: keras.Model, batch: dict[str, Tensor], training: bool) -> Sums:
    """Cross-entropy of the segments' classes: `targets` and `weights` are (batch, segments)."""
    logits = model(batch, training=training)
    return weighted_cross_entropy(logits, batch["targets"], batch["weights"])


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Sums:
    """Return the weighted sum of -log softmax(logits)[target], the sum of weights, and the weight answered right.

    Args:
        logits: (batch, items, classes), any float type; summed in float32.
        targets: (batch, items) int32.
        weights: (batch, items) float32; 0 leaves an item out.
    """
    logits = ops.cast(logits, "float32")
    losses = ops.logsumexp(logits, axis=-1) - ops.squeeze(
        ops.take_along_axis(logits, targets[:, :, None], axis=-1), axis=-1
    )  # (batch, items)
    right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), targets.dtype), targets), "float32")
    return Sums(ops.sum(losses * weights), ops.sum(weights), ops.sum(right * weights))
