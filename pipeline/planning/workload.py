"""What a recipe pretrains, as far as a plan asks: model, batch, horizon, and what had to be assumed."""

from __future__ import annotations

from dataclasses import dataclass

from models.cost import NO_GROUPS, GroupHead, flops_per_token, parameters
from models.horizon import TOKENS_PER_PARAMETER, derive_horizon
from models.parallel import Training
from models.size import Dimensions
from pipeline.config import Recipe
from pipeline.dimensions import dimensions_of
from pipeline.errors import RecipeError
from pipeline.planning.corpus import Corpus, vocabulary_of
from pipeline.planning.devices import Device
from pipeline.targets import embedding_rows, predictions_per_token
from pipeline.training.hardware import HALF


@dataclass(frozen=True)
class Workload:
    """One pretraining.

    Attributes:
        training: Training. The model, and what decides its memory.
        parameters: int. All that are trained.
        flops_per_token: float. Of training, per token that is read.
        precision: str. A precision of the recipe, no `auto`.
        backend: str. As the recipe has it.
        global_batch_size: int. Rows per update.
        micro_batch_size: int or None. Rows per forward pass on each device; None: all at once.
        steps: int. Updates.
        assumptions: tuple of str. What the recipe does not say and no artifact does.
    """

    training: Training
    parameters: int
    flops_per_token: float
    precision: str
    backend: str
    global_batch_size: int
    micro_batch_size: int | None
    steps: int
    assumptions: tuple[str, ...] = ()

    @property
    def dimensions(self) -> Dimensions:
        """Of the model."""
        return self.training.dimensions

    @property
    def tokens_per_update(self) -> int:
        """Tokens that one update reads."""
        return self.global_batch_size * self.training.sequence_length

    @property
    def tokens(self) -> int:
        """Tokens that the training reads."""
        return self.steps * self.tokens_per_update


def workload_of(recipe: Recipe, device: Device, corpus: Corpus | None, gather: str) -> Workload:
    """Return what the recipe pretrains on a kind of device.

    Args:
        recipe: Recipe. Its `preprocess`, `model`, `pretrain` and `runtime`.
        device: Device. Decides what `auto` stands for, and whether activations take half.
        corpus: Corpus. None: not known; then, unless `pretrain.steps` says, 20 tokens for each parameter.
        gather: str. As `runtime.fsdp_gather`.

    Raises:
        RecipeError: the dimensions do not fit together, or the rows are longer than the model allows.
    """
    length = recipe.preprocess.sequence_length
    if length > recipe.model.max_sequence_length:
        raise RecipeError(
            f"preprocess.sequence_length is {length} and model.max_sequence_length is "
            f"{recipe.model.max_sequence_length}; raise the one or lower the other"
        )
    dimensions = dimensions_of(recipe.model)
    architecture, config = dimensions.architecture, recipe.pretrain
    if corpus is not None and corpus.vocabulary_size is not None:
        vocabulary_size, about = corpus.vocabulary_size, f"vocabulary of {corpus.vocabulary_size:,}: {corpus.source}"
    else:
        vocabulary_size, about = vocabulary_of(recipe)
    embedded = embedding_rows(architecture, config, vocabulary_size, length)
    predictions = predictions_per_token(architecture, config, length)
    groups = corpus.groups if corpus else NO_GROUPS
    precision = device.precision(recipe.runtime.precision)
    half = device.kind != "cpu" and precision in HALF
    training = Training(
        dimensions,
        embedded,
        length,
        predictions,
        config.optimizer,
        config.ema_decay is not None,
        activation_bytes=2 if half else 4,
        fused_attention=half and device.flash and recipe.runtime.backend in ("auto", "jax") and length % 2 == 0,
        gather=gather,
        groups=groups,
    )
    counted = parameters(dimensions, embedded).total
    batch, steps, horizon = _horizon(recipe, dimensions, counted, corpus)
    return Workload(
        training,
        parameters(dimensions, embedded, groups).total,
        flops_per_token(dimensions, embedded, length, predictions, groups),
        precision,
        recipe.runtime.backend,
        batch,
        recipe.runtime.micro_batch_size,
        steps,
        (about, *horizon, *_groups(recipe, groups), _precision(recipe, device, precision), _attention(training)),
    )


def _horizon(
    recipe: Recipe, dimensions: Dimensions, counted: int, corpus: Corpus | None
) -> tuple[int, int, tuple[str, ...]]:
    """Return the rows of an update, the updates, and how both are known."""
    config, length = recipe.pretrain, recipe.preprocess.sequence_length
    told = corpus is not None
    # A corpus that is not known is taken to reach as far as the model's size is worth.
    rows = corpus.rows if corpus else -(-TOKENS_PER_PARAMETER * counted // length)
    horizon = derive_horizon(
        dimensions.architecture,
        counted,
        rows,
        length,
        global_batch_size=config.global_batch_size,
        epochs=config.epochs if told else None,
        steps=config.steps,
        micro_batch_size=recipe.runtime.micro_batch_size,
    )
    if config.steps:
        known = f"length of the training: pretrain.steps {config.steps:,}"
    elif corpus:
        known = f"length of the training: {corpus.rows:,} rows, from {corpus.source}"
    else:
        epochs = f"; pretrain.epochs {config.epochs} counts for nothing until then" if config.epochs else ""
        known = (
            f"length of the training: {TOKENS_PER_PARAMETER} tokens for each parameter, since no run has preprocessed "
            f"this corpus yet: --tokens tells its size{epochs}"
        )
    reasons = [reason for reason in horizon.reasons if told or reason.startswith("global_batch_size")]
    return horizon.global_batch_size, horizon.steps, (known, *reasons)


def _groups(recipe: Recipe, groups: GroupHead) -> tuple[str, ...]:
    if groups.groups or not recipe.pretrain.group_weight:
        return ()
    return (
        "what tells groups apart (pretrain.group_weight) is left out: how many there are is known once a run has "
        "preprocessed",
    )


def _precision(recipe: Recipe, device: Device, precision: str) -> str:
    chosen = " by `auto`, which may measure another" if recipe.runtime.precision == "auto" else ""
    slow = precision in ("mixed_bfloat16", "float8") and not device.bfloat16
    advice = f"; a {device.name} multiplies bfloat16 no faster than float32: mixed_float16 is faster" if slow else ""
    return f"precision {precision}{chosen}{advice}"


def _attention(training: Training) -> str:
    if training.fused_attention:
        return "attention is fused (cuDNN), so no scores are kept"
    return "attention keeps its scores: fused attention needs half precision on JAX and a GPU from Ampere on"
