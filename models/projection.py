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
        flat = ops.reshape(inputs, (-1, width))
        flat = self._adapted(flat) if self.lora_enabled else super().call(flat, training=training)
        return ops.reshape(flat, (*leading, self.units))

    def _adapted(self, flat: Tensor) -> Tensor:
        """Return (rows, units) with the adapter beside the kernel.

        Keras adds A B to the kernel instead, whose gradient then has the kernel's size again.
        """
        adapter = ops.matmul(ops.matmul(flat, self.lora_kernel_a), self.lora_kernel_b)
        return self.activation(ops.matmul(flat, self._kernel) + adapter * (self.lora_alpha / self.lora_rank))
