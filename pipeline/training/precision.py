"""The recipe's precision, as Keras has it: a dtype policy, and for float8 also a change of the built model."""

from __future__ import annotations

import keras

from models.variables import remove_variable
from pipeline.training.steppers import replaces_variable


def dtype_policy(precision: str) -> str:
    """Return the name of the Keras dtype policy under which the model of a recipe's precision is built."""
    return "mixed_bfloat16" if precision == "float8" else precision


def prepare(model: keras.Model, precision: str) -> None:
    """Make a built model compute in a recipe's precision, before its optimizer is made.

    float8 (Micikevicius 2022, arXiv 2209.05433) rounds inputs, kernel and output gradient of the dense layers, each
    with a scale from its last 1024 maxima; all else, the logits and the embedding too, stays under mixed_bfloat16.
    Keras has float8 for no other layer, so a dtype policy alone does not do. Other precisions need no change.
    """
    if precision == "float8":
        for layer in _dense_layers(model):
            layer.quantize("float8", type_check=False)


def finish(model: keras.Model) -> None:
    """Undo `prepare` after training: the same weights, without the scales that no file and no export knows of."""
    for layer in _dense_layers(model):
        if layer.quantization_mode == "float8":
            for name in [name for name, value in vars(layer).items() if replaces_variable(value)]:
                remove_variable(layer, name)
            layer.dtype_policy = keras.dtype_policies.get("mixed_bfloat16")
            layer._is_quantized = False


def _dense_layers(model: keras.Model) -> list[keras.layers.Dense]:
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.Dense) and layer.compute_dtype == "bfloat16"]
