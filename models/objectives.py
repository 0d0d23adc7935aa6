"""Training objectives: each returns sums, not means, so that micro-batches of unequal size add up exactly."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from models.packed import Tensor

# The logit of a place where nothing may be: its exponential is 0, and sums of it stay finite.
IMPOSSIBLE = -1e9


class Sums(NamedTuple):
    """What one micro-batch adds to its global batch, in float32.

    Attributes:
        loss: Tensor. A scalar.
        weight: Tensor. A scalar.
        correct: Tensor. A scalar.
        counts: Tensor or None. Of any shape: what the metric of an evaluation is a function of; None in training.
    """

    loss: Tensor
    weight: Tensor
    correct: Tensor
    counts: Tensor | None = None


def token_prediction(model: keras.Model, batch: dict[str, Tensor], training: bool, z_loss: float = 0.0) -> Sums:
    """Cross-entropy of the tokens asked for: `targets` and `weights` have the shape of the logits' items.

    The objective of all three architectures: hidden tokens, next tokens, and the tokens of lost spans.
    """
    logits = model(batch, training=training)
    return weighted_cross_entropy(logits, batch["targets"], batch["weights"], z_loss=z_loss if training else 0.0)


def tokens_and_groups(
    model: keras.Model, batch: dict[str, Tensor], training: bool, group_weight: float, z_loss: float = 0.0
) -> Sums:
    """Cross-entropy of the tokens asked for and, in training, of the segments' groups.

    Args:
        model: keras.Model. A `GroupedLanguageModel`.
        batch: as of `token_prediction`; in training also `groups` (batch, segments) int32, and `group_weights`, the
            same float32, whose sum over many batches is that of `weights`.
        training: bool. Outside of it there are no groups.
        group_weight: float. What the groups count, the tokens counting 1.
        z_loss: float. Of the tokens.
    """
    if not training:
        return token_prediction(model, batch, training)
    tokens, groups = model(batch, training=training)
    sums = weighted_cross_entropy(tokens, batch["targets"], batch["weights"], z_loss=z_loss)
    told = weighted_cross_entropy(groups, batch["groups"], batch["group_weights"])
    return sums._replace(loss=sums.loss + group_weight * told.loss)


def written_tokens(
    model: keras.Model,
    batch: dict[str, Tensor],
    training: bool,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Sums:
    """Cross-entropy of the tokens to be written, each given those before it; `targets`, `weights` are (batch, seq).

    It is smoothed in training only; otherwise `counts` are the tokens answered rightly and all of them, (2,) float32.
    """
    logits = model(batch, training=training)
    if training:
        return weighted_cross_entropy(logits, batch["targets"], batch["weights"], label_smoothing, z_loss)
    sums = weighted_cross_entropy(logits, batch["targets"], batch["weights"])
    return sums._replace(counts=ops.stack([sums.correct, sums.weight]))


def segment_labels(
    model: keras.Model,
    batch: dict[str, Tensor],
    training: bool,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    focal_gamma: float = 0.0,
) -> Sums:
    """Cross-entropy of the segments' classes: `targets`, `weights` are (batch, segments).

    It is smoothed and focused in training only; otherwise `counts` are those of `class_counts`.
    """
    logits = model(batch, training=training)
    targets, weights = batch["targets"], batch["weights"]
    if training:
        return weighted_cross_entropy(logits, targets, weights, label_smoothing, z_loss, focal_gamma)
    plain = weighted_cross_entropy(logits, targets, weights)
    return plain._replace(counts=class_counts(logits, targets, weights))


def class_counts(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return, for each class, the weight answered rightly with it, that of it, and that answered with it.

    Precision, recall and F1 of every class follow from these sums, (3, classes) float32, so that they are exact however
    the rows are dealt over micro-batches, devices and processes.

    Args:
        logits: (batch, items, classes).
        targets: (batch, items) int32.
        weights: (batch, items) float32.
    """
    classes = logits.shape[-1]
    wanted = ops.one_hot(targets, classes, dtype="float32") * weights[:, :, None]  # (batch, items, classes)
    answered = ops.one_hot(ops.argmax(logits, axis=-1), classes, dtype="float32")
    sums = [wanted * answered, wanted, answered * weights[:, :, None]]
    return ops.stack([ops.sum(values, axis=(0, 1)) for values in sums])


def segment_label_sets(
    model: keras.Model, batch: dict[str, Tensor], training: bool, label_smoothing: float = 0.0
) -> Sums:
    """Binary cross-entropy of the segments' sets of classes, its mean over the classes; right is a whole set.

    Outside training `counts` are, as `class_counts`, of the classes whose logit is above 0.

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
    sums = Sums(loss, ops.sum(weights), ops.sum(ops.cast(right, "float32") * weights))
    if training:
        return sums
    given, weight = ops.cast(logits > 0, "float32"), weights[:, :, None]
    counted = [wanted * given * weight, wanted * weight, given * weight]  # (batch, segments, classes) each
    return sums._replace(counts=ops.stack([ops.sum(values, axis=(0, 1)) for values in counted]))


def segment_values(
    model: keras.Model, batch: dict[str, Tensor], training: bool, offset: float = 0.0, scale: float = 1.0
) -> Sums:
    """Squared error of the segments' numbers, in units of `scale`; right is what misses by less than half of it.

    Outside training `counts` are the squared error, the weight, and the sums of the targets and of their squares, as
    numbers from `offset` in the same units, (4,) float32: R squared follows from them.

    Args:
        model: keras.Model. Answers numbers, (batch, segments).
        batch: `targets`, `weights` (batch, segments) float32.
        training: bool. Whether dropout acts.
        offset: float. Near the targets' mean.
        scale: float. Near their spread.
    """
    weights = batch["weights"]
    targets = (batch["targets"] - offset) / scale
    errors = (ops.cast(model(batch, training=training), "float32") - offset) / scale - targets
    right = ops.cast(ops.abs(errors) < 0.5, "float32")
    loss, weight = ops.sum(ops.square(errors) * weights), ops.sum(weights)
    sums = Sums(loss, weight, ops.sum(right * weights))
    if training:
        return sums
    return sums._replace(
        counts=ops.stack([loss, weight, ops.sum(targets * weights), ops.sum(ops.square(targets) * weights)])
    )


def segment_spans(model: keras.Model, batch: dict[str, Tensor], training: bool) -> Sums:
    """Cross-entropy of the segments' first and last tokens of an answer, the mean of the two, each within its segment.

    Right is a segment of which both are. Outside training `counts` are the summed F1 of the answers' tokens and the
    weight, (2,) float32: the answer's first token is the likeliest, its last the likeliest from there on, and it is
    none where its first is the segment's first.

    Args:
        model: keras.Model. Answers logits, (batch, seq, 2).
        batch: `targets` (batch, segments, 2) int32, tokens of the row; `weights` (batch, segments) float32;
            `segment_ids` and `candidates` (batch, seq) int32, the latter 1 where an answer may begin or end.
        training: bool. Whether dropout acts.
    """
    logits = ops.cast(model(batch, training=training), "float32")  # (batch, seq, 2)
    targets, weights = batch["targets"], batch["weights"]
    numbers = ops.arange(1, targets.shape[1] + 1, dtype="int32")[None, :, None]  # (1, segments, 1)
    mine = ops.logical_and(ops.equal(batch["segment_ids"][:, None], numbers), batch["candidates"][:, None] > 0)
    scores = ops.where(mine[..., None], logits[:, None], IMPOSSIBLE)  # (batch, segments, seq, 2)
    wanted = ops.squeeze(ops.take_along_axis(scores, targets[:, :, None, :], axis=2), axis=2)  # (batch, segments, 2)
    losses = ops.mean(ops.logsumexp(scores, axis=2) - wanted, axis=-1)  # (batch, segments)
    right = ops.cast(ops.all(wanted >= ops.max(scores, axis=2), axis=-1), "float32")
    sums = Sums(ops.sum(losses * weights), ops.sum(weights), ops.sum(right * weights))
    if training:
        return sums
    places = ops.arange(logits.shape[1], dtype="int32")[None, None]  # (1, 1, seq)
    first = ops.cast(ops.argmax(scores[..., 0], axis=-1), "int32")  # (batch, segments)
    following = ops.where(places >= first[..., None], scores[..., 1], IMPOSSIBLE)
    last = ops.cast(ops.argmax(following, axis=-1), "int32")
    none = ops.equal(first, ops.cast(ops.argmax(ops.cast(mine, "int32"), axis=-1), "int32"))
    last = ops.where(none, first, last)
    shared = ops.minimum(last, targets[..., 1]) - ops.maximum(first, targets[..., 0]) + 1
    lengths = (last - first + 1) + (targets[..., 1] - targets[..., 0] + 1)
    f1 = 2 * ops.cast(ops.maximum(shared, 0), "float32") / ops.cast(lengths, "float32")
    return sums._replace(counts=ops.stack([ops.sum(f1 * weights), ops.sum(weights)]))


def weighted_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    focal_gamma: float = 0.0,
) -> Sums:
    """Return the weighted sum of -log softmax(logits)[target], the sum of weights, and the weight answered right.

    Args:
        logits: (batch, items, classes), any float type; summed in float32.
        targets: (batch, items) int32.
        weights: (batch, items) float32; 0 leaves an item out.
        label_smoothing: float. Share of the target that is spread over all classes (Szegedy 2015, arXiv 1512.00567).
        z_loss: float. Weight of log(Z)^2, which keeps the logits small (Chowdhery 2022, arXiv 2204.02311, section 5).
        focal_gamma: float. Each item's cross-entropy counts (1 - softmax(logits)[target])^gamma, so that what is known
            already weighs little (Lin 2017, arXiv 1708.02002); 0: all count alike.
    """
    plain = not label_smoothing and not focal_gamma
    if keras.backend.backend() == "torch" and logits.device.type == "cpu" and plain:
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
    if focal_gamma:
        # Not below 1e-6, where the power's gradient would be infinite for a gamma below 1.
        losses = losses * ops.maximum(-ops.expm1(answer - log_z), 1e-6) ** focal_gamma
    if z_loss:
        losses = losses + z_loss * ops.square(log_z)
    return Sums(ops.sum(losses * weights), ops.sum(weights), ops.sum(right * weights))
