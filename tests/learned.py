"""One update of a model of every kind and shape, to be the same on every backend."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import keras
import numpy as np
from tiny_models import (
    LENGTH,
    VOCABULARY,
    make_decoder,
    make_encoder,
    make_encoder_decoder,
    paired_rows,
    randomise,
)

from models.classifier import SegmentClassifier, SegmentRegressor, SpanClassifier, TokenClassifier
from models.freezing import train_top
from models.language_models import CausalLanguageModel, GroupedLanguageModel, SpanLanguageModel
from models.lora import add_adapters
from models.objectives import (
    Sums,
    segment_label_sets,
    segment_labels,
    segment_spans,
    segment_values,
    token_prediction,
    tokens_and_groups,
    written_tokens,
)
from models.packed import PackedModel
from pipeline.config import Pretrain
from pipeline.training.optimizer import make_optimizer
from pipeline.training.steppers import make_stepper

ROWS, SEGMENTS, GROUPS = 6, 4, 5


class Case(NamedTuple):
    """A model and what it learns: `asked` names the items that it answers for."""

    make: Callable[[], PackedModel]
    objective: Callable[..., Sums]
    asked: str


def of(model: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[[], Any]:
    """Return what makes a model with an encoder of one block, which compiles fast."""
    return lambda: randomise(model(make_encoder(), *arguments, **options), seed=1)


def make_adapted() -> SegmentClassifier:
    model = of(SegmentClassifier, 3, segments_per_row=SEGMENTS)()
    add_adapters(model.encoder, 2, 4.0, "all")
    return randomise(model, seed=1)


def make_partly_trained() -> SegmentClassifier:
    model = SegmentClassifier(make_decoder(num_layers=2, feedforward="relu2"), 3, segments_per_row=SEGMENTS)
    train_top(randomise(model, seed=1).encoder, 1)
    return model


def make_causal() -> CausalLanguageModel:
    return randomise(CausalLanguageModel(make_decoder(query_key_norm=False, feedforward="relu2")), seed=1)


def make_writer() -> SpanLanguageModel:
    return randomise(SpanLanguageModel(make_encoder_decoder(tie_embeddings=False)), seed=1)


smooth = partial(segment_labels, label_smoothing=0.1, focal_gamma=2.0)
numbers = partial(segment_values, offset=5.0, scale=2.0)
groups = partial(tokens_and_groups, group_weight=0.7)
CASES = {
    "classes, by adapters": Case(make_adapted, smooth, "segments"),
    "classes, by the top block of a decoder": Case(make_partly_trained, segment_labels, "segments"),
    "sets of classes": Case(of(SegmentClassifier, 3, segments_per_row=SEGMENTS), segment_label_sets, "sets"),
    "numbers": Case(of(SegmentRegressor, 5.0, 2.0, segments_per_row=SEGMENTS), numbers, "numbers"),
    "tags": Case(of(TokenClassifier, 3), partial(segment_labels, z_loss=0.01), "tokens"),
    "answers": Case(of(SpanClassifier, longest_answer=4), segment_spans, "spans"),
    "hidden tokens and groups": Case(of(GroupedLanguageModel, GROUPS), groups, "groups"),
    "next tokens": Case(make_causal, token_prediction, "words"),
    "written tokens": Case(make_writer, partial(written_tokens, label_smoothing=0.1), "decoder words"),
}


@cache
def learned(name: str) -> dict[str, np.ndarray]:
    """Return what an update of two micro-batches tells, the new weights, and of tasks what an evaluation counts."""
    case = CASES[name]
    model, batch = case.make(), make_batch(case.asked)
    config = Pretrain(optimizer="sgd", warmup_fraction=0.0, schedule="constant", clip_norm=1.0)
    stepper = make_stepper(model, make_optimizer(config, 0.1, 2, model), case.objective)
    found = {"update": np.array([float(value) for value in stepper.update(batch)])}
    if "words" not in case.asked and case.asked != "groups":
        sums = stepper.evaluate(batch)
        found["evaluation"] = np.concatenate([np.ravel(keras.ops.convert_to_numpy(part)) for part in sums])
    stepper.write_back()
    weights = [np.ravel(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]
    return found | {"weights": np.concatenate(weights)}


def make_batch(asked: str) -> dict[str, np.ndarray]:
    """Return two micro-batches of rows, with targets and weights for the items asked for."""
    batch, random = paired_rows(seed=5, rows=ROWS), np.random.default_rng(6)
    width = {"tokens": LENGTH, "words": LENGTH, "groups": 3, "decoder words": LENGTH - 4}.get(asked, SEGMENTS)
    most = VOCABULARY if asked in ("words", "groups", "decoder words") else 3
    batch["targets"] = random.integers(0, most, (ROWS, width)).astype(np.int32)
    batch["weights"] = (random.random((ROWS, width)) * (random.random((ROWS, width)) < 0.8)).astype(np.float32)
    match asked:
        case "sets":
            batch["targets"] = random.integers(0, 2, (ROWS, width, 3)).astype(np.int32)
        case "numbers":
            batch["targets"] = random.normal(5.0, 2.0, (ROWS, width)).astype(np.float32)
        case "groups":
            batch["groups"] = random.integers(0, GROUPS, (ROWS, SEGMENTS)).astype(np.int32)
            batch["group_weights"] = random.random((ROWS, SEGMENTS)).astype(np.float32)
        case "spans":
            batch |= _spans(batch["segment_ids"], random)
    return {name: array.reshape(2, -1, *array.shape[1:]) for name, array in batch.items()}


def _spans(segment_ids: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    """Return an answer in every segment that there is; at the first token of one there is none."""
    targets, weights = np.zeros((ROWS, SEGMENTS, 2), np.int32), np.zeros((ROWS, SEGMENTS), np.float32)
    for row, numbers in enumerate(segment_ids):
        for segment in range(1, numbers.max() + 1):
            targets[row, segment - 1] = np.sort(random.choice(np.flatnonzero(numbers == segment), 2))
            weights[row, segment - 1] = random.random()
    return {"targets": targets, "weights": weights, "candidates": np.ones_like(segment_ids)}
