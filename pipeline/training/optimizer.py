"""The optimizer: AdamW with linear warm-up and cosine decay, counted in optimizer updates."""

from __future__ import annotations

import keras

from pipeline.config import Optimization


def make_optimizer(
    config: Optimization, learning_rate: float, total_steps: int, model: keras.Model
) -> keras.optimizers.Optimizer:
    """Return AdamW (Loshchilov 2017, arXiv 1711.05101) built for the model, with loss scaling under float16.

    Norm scales, biases and embeddings are not decayed: they are no directions that could grow without bound.

    Args:
        config: Optimization. Warm-up fraction, weight decay and clipping norm.
        learning_rate: float. The peak.
        total_steps: int. Optimizer updates until the rate is a tenth of the peak.
        model: keras.Model. Built.
    """
    warmup = round(config.warmup_fraction * total_steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else learning_rate,
        decay_steps=max(1, total_steps - warmup),
        alpha=0.1,
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer: keras.optimizers.Optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=config.weight_decay, beta_2=0.98, global_clipnorm=config.clip_norm
    )
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in model.trainable_variables if len(v.shape) < 2 or "embedding" in v.path]
    )
    if model.dtype_policy.name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer
