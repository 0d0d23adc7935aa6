"""A matrix product over the last axis."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.packed import Tensor


@keras.saving.register_keras_serializable(package="tradewind")
class Projection(keras.layers.Dense):
    """A dense layer without bias that multiplies flat rows.

    On a CPU the gradients of a product of rank 3 take about twice as long as those of the same product of rank 2: XLA
    transposes the one and hands the other to its matrix kernel.

    Args:
        units: int. Width of the output.
    """

    def __init__(self, units: int, use_bias: bool = False, **kwargs: Any) -> None:
        super().__init__(units, use_bias=use_bias, **kwargs)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Return (..., units) from (..., width)."""
        *leading, width = ops.shape(inputs)
        flat = super().call(ops.reshape(inputs, (-1, width)), training=training)
        return ops.reshape(flat, (*leading, self.units))
