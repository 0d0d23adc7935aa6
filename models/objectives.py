"""Training objectives: each returns sums, not means, so that micro-batches of unequal size add up exactly."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from models.packed import Tensor


class Sums(NamedTuple):
    """What one micro-batch adds to its global batch; all are scalars in float32."""

    loss: Tensor
    weight: Tensor
    correct: Tensor


def token_prediction(model: keras.Model, batch: dict[str, Tensor], training: bool, z_loss: float = 0.0) -> Sums:
    """Cross-entropy of the tokens asked for: `targets` and `weights` have the shape of the logits' items.

    The objective of all three architectures: hidden tokens, next tokens, and the tokens of lost spans.
    """
    logits = model(batch, training=training)
    return weighted_cross_entropy(logits, batch["targets"], batch["weights"], z_loss=z_loss if training else 0.0)


def segment_labels(
    model: keras.Model,
    batch: dict[str, Tensor],
    training: bool,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Sums:
    """Cross-entropy of the segments' classes, smoothed in training only: `targets`, `weights` are (batch, segments)."""
    logits = model(batch, training=training)
    if not training:
        label_smoothing = z_loss = 0.0
    return weighted_cross_entropy(logits, batch["targets"], batch["weights"], label_smoothing, z_loss)


def segment_label_sets(
    model: keras.Model, batch: dict[str, Tensor], training: bool, label_smoothing: float = 0.0
) -> Sums:
    """Binary cross-entropy of the segments' sets of classes, its mean over the classes; right is a whole set.

    Args:
        model: keras.Model. Answers logits, (batch, segments, classes).
        batch: `targets` (batch, segments, classes), 1 for each class of the set; `weights` (batch, segments) float32.
        training: bool. Whether dropout acts, and smoothing.
        label_smoothing: float. Share of each target that is moved to one half.
    """
    logits = ops.cast(model(batch, training=training), "float32")
    wanted = ops.cast(batch["targets"], "float32")
    right = ops.all(ops.equal(logits > 0, wanted > 0.5), axis=-1)  # (batch, segments)
    if training and label_smoothing:
        wanted = (1 - label_smoothing) * wanted + label_smoothing / 2
    # -log sigmoid of what is wanted, without an exponential of a large number.
    losses = ops.relu(logits) - logits * wanted + ops.softplus(-ops.abs(logits))  # (batch, segments, classes)
    weights = batch["weights"]
    loss = ops.sum(ops.mean(losses, axis=-1) * weights)
    return Sums(loss, ops.sum(weights), ops.sum(ops.cast(right, "float32") * weights))


def segment_values(model: keras.Model, batch: dict[str, Tensor], training: bool, scale: float = 1.0) -> Sums:
    """Squared error of the segments' numbers, in units of `scale`; right is what misses by less than half of it.

    `targets` and `weights` are (batch, segments) float32.
    """
    errors = (ops.cast(model(batch, training=training), "float32") - batch["targets"]) / scale
    weights = batch["weights"]
    right = ops.cast(ops.abs(errors) < 0.5, "float32")
    return Sums(ops.sum(ops.square(errors) * weights), ops.sum(weights), ops.sum(right * weights))


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor, label_smoothing: float = 0.0, z_loss: float = 0.0
) -> Sums:
    """Return the weighted sum of -log softmax(logits)[target], the sum of weights, and the weight answered right.

    Args:
        logits: (batch, items, classes), any float type; summed in float32.
        targets: (batch, items) int32.
        weights: (batch, items) float32; 0 leaves an item out.
        label_smoothing: float. Share of the target that is spread over all classes (Szegedy 2015, arXiv 1512.00567).
        z_loss: float. Weight of log(Z)^2, which keeps the logits small (Chowdhery 2022, arXiv 2204.02311, section 5).
    """
    if keras.backend.backend() == "torch" and logits.device.type == "cpu" and not label_smoothing:
        from models.torch_cross_entropy import TorchCrossEntropy

        loss, correct = TorchCrossEntropy.apply(logits, targets, weights, z_loss)
        return Sums(loss, ops.sum(weights), correct)
    logits = ops.cast(logits, "float32")
    answer = ops.squeeze(ops.take_along_axis(logits, targets[:, :, None], axis=-1), axis=-1)  # (batch, items)
    # An answer is right when nothing exceeds it: on a CPU the argmax of a vocabulary costs as much as its softmax.
    right = ops.cast(answer >= ops.max(logits, axis=-1), "float32")
    wanted = answer
    if label_smoothing:
        wanted = (1 - label_smoothing) * answer + label_smoothing * ops.mean(logits, axis=-1)
    log_z = ops.logsumexp(logits, axis=-1)
    losses = log_z - wanted  # (batch, items)
    if z_loss:
        losses = losses + z_loss * ops.square(log_z)
    return Sums(ops.sum(losses * weights), ops.sum(weights), ops.sum(right * weights))
