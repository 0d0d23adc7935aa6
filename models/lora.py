"""Low-rank adapters beside frozen kernels, and the way back to plain ones (Hu 2021, arXiv 2106.09685)."""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
from keras import ops

from models.attention import Attention
from models.feedforward import FeedForward
from models.freezing import freeze
from models.preset import PresetEncoder
from models.projection import Projection
from models.variables import remove_variable

KINDS: dict[str, tuple[type[keras.layers.Layer], ...]] = {
    "attention": (Attention,),
    "feedforward": (FeedForward,),
    "all": (Attention, FeedForward),
}


def add_adapters(
    backbone: keras.Model, rank: int, alpha: float, targets: Literal["attention", "feedforward", "all"]
) -> list[keras.layers.Layer]:
    """Freeze a backbone and put adapters beside its projections, which change no answer before they are trained.

    Args:
        backbone: keras.Model. Built.
        rank: int. Width between the two kernels of an adapter.
        alpha: float. An adapter counts alpha / rank.
        targets: str. Whose projections.

    Returns:
        The projections that have one.

    Raises:
        ValueError: a projection is quantised, or has an adapter already, or none is found.
    """
    projections = _projections(backbone, targets)
    if not projections:
        raise ValueError(
            f"{backbone.name} has no projections of {targets}; low-rank adapters need a model of ours or an encoder of "
            "KerasHub"
        )
    for projection in projections:
        if projection.quantization_mode:
            raise ValueError(
                f"{projection.path} is quantised ({projection.quantization_mode}), and an adapter is merged into whole "
                "kernels; train with a precision that quantises none, such as mixed_bfloat16"
            )
        if projection.lora_enabled:
            raise ValueError(f"{projection.path} has an adapter already; merge it first")
    freeze(backbone)
    for projection in projections:
        projection.enable_lora(rank, lora_alpha=alpha)
    return projections


def adapted(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of a model that have an adapter."""
    return [layer for layer in model._flatten_layers() if getattr(layer, "lora_enabled", False)]


def merge_adapters(model: keras.Model) -> None:
    """Add every adapter to its kernel and remove it: the same answers, from plain kernels that train again."""
    for layer in adapted(model):
        # In NumPy, because accelerators round products of float32.
        down, up = (ops.convert_to_numpy(kernel) for kernel in (layer.lora_kernel_a, layer.lora_kernel_b))
        kernel = np.asarray(ops.convert_to_numpy(layer._kernel))
        layer._kernel.assign(kernel + np.asarray(down) @ np.asarray(up) * (layer.lora_alpha / layer.lora_rank))
        for name in ("lora_kernel_a", "lora_kernel_b"):
            remove_variable(layer, name)
        layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None
        layer._kernel.trainable = True


def _projections(backbone: keras.Model, targets: str) -> list[keras.layers.Layer]:
    if isinstance(backbone, PresetEncoder):
        layers = [layer for block in backbone.blocks for layer in block._flatten_layers()]
        attention = [layer for layer in layers if isinstance(layer, keras.layers.MultiHeadAttention)]
        inside = {id(layer) for parent in attention for layer in parent._flatten_layers()}
        dense = [layer for layer in layers if isinstance(layer, (keras.layers.Dense, keras.layers.EinsumDense))]
        return [layer for layer in dense if targets == "all" or (id(layer) in inside) == (targets == "attention")]
    parents = [layer for layer in backbone._flatten_layers() if isinstance(layer, KINDS[targets])]
    return [layer for parent in parents for layer in parent._layers if isinstance(layer, Projection)]
