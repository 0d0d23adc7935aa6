"""The optimizers of a recipe, counted in updates of the global batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from pipeline.config import Optimization
from pipeline.training.layer_rates import Share, by_layer
from pipeline.training.muon import BlockMuon
from pipeline.training.schedules import make_schedule

# Peak rates relative to AdamW's.
RATES = {
    "adamw": 1.0,
    "adam": 1.0,
    "muon": 1.0,  # its updates are scaled to the size of AdamW's (Liu 2025, arXiv 2502.16982)
    "lion": 0.2,  # a third to a tenth, because a sign is larger than Adam's quotient (Chen 2023, arXiv 2302.06675)
    "sgd": 100.0,
}


def default_learning_rate(optimizer: str, adamw_rate: float) -> float:
    """Return the peak learning rate of an optimizer where AdamW's is `adamw_rate`."""
    return RATES[optimizer] * adamw_rate


def make_optimizer(
    config: Optimization,
    learning_rate: float,
    total_steps: int,
    model: keras.Model,
    first_step: int = 0,
    shares: Sequence[Share] = (),
) -> keras.optimizers.Optimizer:
    """Return the recipe's optimizer, built for the model, with loss scaling under float16.

    Weight decay is decoupled from the gradient (Loshchilov 2017, arXiv 1711.05101). Unless `decay_all`, norm scales,
    biases and embeddings are not decayed: they are no directions that could grow without bound. Adam has no decay.

    Args:
        config: Optimization. Optimizer, schedule, decay, clipping, averaging.
        learning_rate: float. The peak.
        total_steps: int. Updates of the schedule.
        model: keras.Model. Built, with the weights that training starts from: they begin the moving average.
        first_step: int. Updates that the optimizer has made already, when its state is taken over from an earlier
            training and the schedule is to start anew.
        shares: sequence of Share. What each trainable variable gets of the rate; empty: all of it.

    Raises:
        RecipeError: the phases of the schedule do not fit into `total_steps`.
    """
    schedule = make_schedule(config, learning_rate, total_steps, first_step)
    optimizer = _make(config, schedule, by_layer if shares else _as_it_is)
    if shares:
        optimizer.shares = tuple(shares)
    if not config.decay_all:
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in model.trainable_variables if len(v.shape) < 2 or "embedding" in v.path]
        )
    if model.dtype_policy.compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    for weight, average in averages(optimizer):
        average.assign(weight)
    return optimizer


def averages(optimizer: keras.optimizers.Optimizer) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return each weight with its moving average; nothing when the recipe has no `ema_decay`."""
    inner = _inner(optimizer)
    if not inner.use_ema:
        return []
    pairs = zip(inner._trainable_variables, inner._model_variables_moving_average, strict=True)
    return [(weight, average) for weight, average in pairs if average is not None]


def use_averages(optimizer: keras.optimizers.Optimizer) -> None:
    """Overwrite the model's weights with their moving averages, where they are kept; training ends with this."""
    for weight, average in averages(optimizer):
        weight.assign(keras.ops.copy(average))


def learning_rate_at(optimizer: keras.optimizers.Optimizer, step: int) -> float:
    """Return the learning rate of the update that `step` updates precede."""
    return float(_inner(optimizer)._learning_rate(step))


def _make(
    config: Optimization,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
    variant: Callable[[type[Any]], type[Any]],
) -> Any:
    shared = {
        "learning_rate": schedule,
        "weight_decay": config.weight_decay,
        "global_clipnorm": config.clip_norm,
        "use_ema": config.ema_decay is not None,
        "ema_momentum": config.ema_decay or 0.0,
    }
    match config.optimizer:
        case "adamw":
            return variant(keras.optimizers.AdamW)(beta_1=config.beta_1, beta_2=config.beta_2, **shared)
        case "adam":
            return variant(keras.optimizers.Adam)(
                beta_1=config.beta_1, beta_2=config.beta_2, **(shared | {"weight_decay": None})
            )
        case "sgd":
            return variant(keras.optimizers.SGD)(momentum=config.beta_1, nesterov=True, **shared)
        case "lion":
            return variant(keras.optimizers.Lion)(beta_1=config.beta_1, beta_2=config.beta_2, **shared)
        case "muon":
            return variant(BlockMuon)(
                adam_beta_1=config.beta_1,
                adam_beta_2=config.beta_2,
                adam_weight_decay=config.weight_decay,
                **shared,
            )


def _as_it_is(kind: type[Any]) -> type[Any]:
    return kind


def _inner(optimizer: keras.optimizers.Optimizer) -> Any:
    return getattr(optimizer, "inner_optimizer", optimizer)
