"""The feed-forward half of a block."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.packed import Tensor
from models.projection import Projection


@keras.saving.register_keras_serializable(package="tradewind")
class FeedForward(keras.layers.Layer):
    """GeGLU, (gelu(x W) * x V) U (Shazeer 2020, arXiv 2002.05202), or relu(x W)^2 U.

    The square of ReLU is Primer's (So 2021, arXiv 2109.08668).

    Args:
        feedforward_dim: int. Inner width.
        kind: str. `geglu` or `relu2`.
    """

    def __init__(self, feedforward_dim: int, kind: str = "geglu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("geglu", "relu2"):
            raise ValueError(f"kind is {kind!r}; it must be geglu or relu2")
        self.feedforward_dim = feedforward_dim
        self.kind = kind

    def build(self, hidden_shape: tuple[int | None, ...]) -> None:
        """Create the input projection, the gate if there is one, and the output projection."""
        hidden_dim = hidden_shape[-1]
        assert hidden_dim is not None
        if self.kind == "geglu":
            self.gate = Projection(self.feedforward_dim, activation=gelu, dtype=self.dtype_policy, name="gate")
            self.gate.build(hidden_shape)
        self.input_projection = Projection(self.feedforward_dim, dtype=self.dtype_policy, name="input")
        self.input_projection.build(hidden_shape)
        self.output_projection = Projection(hidden_dim, dtype=self.dtype_policy, name="output")
        self.output_projection.build((*hidden_shape[:-1], self.feedforward_dim))
        self.built = True

    def call(self, hidden: Tensor) -> Tensor:
        """Return (batch, seq, hidden) from the same shape."""
        inner = self.input_projection(hidden)  # (batch, seq, feedforward)
        if self.kind == "geglu":
            return self.output_projection(self.gate(hidden) * inner)
        return self.output_projection(ops.square(ops.relu(inner)))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "feedforward_dim": self.feedforward_dim, "kind": self.kind}


@keras.saving.register_keras_serializable(package="tradewind")
def gelu(inputs: Tensor) -> Tensor:
    """Return the tanh form of GELU, because the exact one exports to an invalid ONNX graph from TensorFlow."""
    return ops.gelu(inputs, approximate=True)
