"""The blocks of a pre-norm Transformer encoder: rotary attention over packed segments, gated feed-forward.

No layer has a bias, projections are 2-D kernels, and queries, keys and values come from one fused kernel: fewer, larger
matrix products, which is what CPUs and accelerators alike are fast at.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="tradewind")
class SegmentAttention(keras.layers.Layer):
    """Multi-head self-attention in which a token sees the tokens of its own segment only.

    softmax(Q K^T / sqrt(head_dim)) V (Vaswani 2017, arXiv 1706.03762) with rotary positions (Su 2021, arXiv
    2104.09864), RMS-normed queries and keys (Henry 2020, arXiv 2010.04245), and keys and values shared by groups of
    heads (Ainslie 2023, arXiv 2305.13245). Rotation is relative, so a segment gives the same output wherever in a
    packed row it lies.

    Args:
        num_heads: int. Query heads.
        num_key_value_heads: int. Key and value heads; divides `num_heads`.
    """

    def __init__(self, num_heads: int, num_key_value_heads: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads or num_heads

    def build(self, hidden_shape: tuple[int | None, ...], *_: Any) -> None:
        """Create the fused projection, the output projection and the two norms."""
        hidden_dim = hidden_shape[-1]
        assert hidden_dim is not None
        self.head_dim = hidden_dim // self.num_heads
        width = (self.num_heads + 2 * self.num_key_value_heads) * self.head_dim
        self.fused = keras.layers.Dense(width, use_bias=False, dtype=self.dtype_policy, name="query_key_value")
        self.fused.build(hidden_shape)
        self.output_projection = keras.layers.Dense(hidden_dim, use_bias=False, dtype=self.dtype_policy, name="output")
        self.output_projection.build((*hidden_shape[:-1], self.num_heads * self.head_dim))
        self.query_norm = keras.layers.RMSNormalization(dtype=self.dtype_policy, name="query_norm")
        self.key_norm = keras.layers.RMSNormalization(dtype=self.dtype_policy, name="key_norm")
        self.query_norm.build((None, None, self.num_heads, self.head_dim))
        self.key_norm.build((None, None, self.num_key_value_heads, self.head_dim))
        self.built = True

    def call(self, hidden: Tensor, mask: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Return (batch, seq, hidden) from the same shape, a (batch, 1, seq, seq) mask and `rotary_angles`."""
        batch, seq = ops.shape(hidden)[0], ops.shape(hidden)[1]
        # The number of heads is spelled out: with -1 TensorFlow could not split rows of unknown length.
        number = self.num_heads + 2 * self.num_key_value_heads
        heads = ops.reshape(self.fused(hidden), (batch, seq, number, self.head_dim))  # (batch, seq, q + k + v, head)
        query, key, value = ops.split(heads, [self.num_heads, self.num_heads + self.num_key_value_heads], axis=2)
        query = rotate(self.query_norm(query), rotation)
        key = rotate(self.key_norm(key), rotation)
        repeats = self.num_heads // self.num_key_value_heads
        if repeats > 1:
            key, value = ops.repeat(key, repeats, axis=2), ops.repeat(value, repeats, axis=2)
        mixed = ops.dot_product_attention(query, key, value, mask=mask)  # (batch, seq, q heads, head)
        return self.output_projection(ops.reshape(mixed, (batch, seq, self.num_heads * self.head_dim)))

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...], *_: Any) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return hidden_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
        }


@keras.saving.register_keras_serializable(package="tradewind")
class GatedFeedForward(keras.layers.Layer):
    """GeGLU: (gelu(x W) * x V) U, with W and V fused (Shazeer 2020, arXiv 2002.05202).

    Args:
        feedforward_dim: int. Inner width.
    """

    def __init__(self, feedforward_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.feedforward_dim = feedforward_dim

    def build(self, hidden_shape: tuple[int | None, ...]) -> None:
        """Create the fused input projection and the output projection."""
        self.fused = keras.layers.Dense(
            2 * self.feedforward_dim, use_bias=False, dtype=self.dtype_policy, name="gate_value"
        )
        self.fused.build(hidden_shape)
        self.output_projection = keras.layers.Dense(
            hidden_shape[-1], use_bias=False, dtype=self.dtype_policy, name="output"
        )
        self.output_projection.build((*hidden_shape[:-1], self.feedforward_dim))
        self.built = True

    def call(self, hidden: Tensor) -> Tensor:
        """Return (batch, seq, hidden) from the same shape."""
        gate, value = ops.split(self.fused(hidden), 2, axis=-1)  # (batch, seq, feedforward) each
        # The tanh form, because the exact one exports to an invalid ONNX graph from TensorFlow.
        return self.output_projection(ops.gelu(gate, approximate=True) * value)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "feedforward_dim": self.feedforward_dim}


@keras.saving.register_keras_serializable(package="tradewind")
class EncoderBlock(keras.layers.Layer):
    """Pre-norm attention and feed-forward, each with dropout and a residual (Xiong 2020, arXiv 2002.04745).

    Args:
        num_heads: int. Query heads.
        num_key_value_heads: int. Key and value heads.
        feedforward_dim: int. Inner width of the feed-forward.
        dropout: float. Rate after attention and after the feed-forward.
    """

    def __init__(
        self,
        num_heads: int,
        num_key_value_heads: int,
        feedforward_dim: int,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads
        self.feedforward_dim = feedforward_dim
        self.dropout = dropout
        policy = self.dtype_policy
        self.attention_norm = keras.layers.RMSNormalization(dtype=policy, name="attention_norm")
        self.attention = SegmentAttention(num_heads, num_key_value_heads, dtype=policy, name="attention")
        self.attention_dropout = keras.layers.Dropout(dropout, dtype=policy, name="attention_dropout")
        self.feedforward_norm = keras.layers.RMSNormalization(dtype=policy, name="feedforward_norm")
        self.feedforward = GatedFeedForward(feedforward_dim, dtype=policy, name="feedforward")
        self.feedforward_dropout = keras.layers.Dropout(dropout, dtype=policy, name="feedforward_dropout")

    def build(self, hidden_shape: tuple[int | None, ...], *_: Any) -> None:
        """Create the weights of both halves."""
        for layer in (self.attention_norm, self.attention, self.feedforward_norm, self.feedforward):
            layer.build(hidden_shape)
        self.built = True

    def call(
        self, hidden: Tensor, mask: Tensor, rotation: tuple[Tensor, Tensor], training: bool | None = None
    ) -> Tensor:
        """Return (batch, seq, hidden) from the same shape, a (batch, 1, seq, seq) mask and `rotary_angles`."""
        mixed = self.attention(self.attention_norm(hidden), mask, rotation)
        hidden = hidden + self.attention_dropout(mixed, training=training)
        changed = self.feedforward(self.feedforward_norm(hidden))
        return hidden + self.feedforward_dropout(changed, training=training)

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...], *_: Any) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return hidden_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "feedforward_dim": self.feedforward_dim,
            "dropout": self.dropout,
        }


def rotary_angles(seq: Tensor, head_dim: int, dtype: str, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, each (1, seq, 1, head_dim // 2), of the rotation at every position."""
    frequency = base ** (-ops.arange(0, head_dim, 2, dtype="float32") / head_dim)  # (head_dim // 2,)
    angle = ops.arange(seq, dtype="float32")[:, None] * frequency[None, :]  # (seq, head_dim // 2)
    angle = angle[None, :, None, :]
    return ops.cast(ops.cos(angle), dtype), ops.cast(ops.sin(angle), dtype)


def rotate(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Return (batch, seq, heads, head_dim) with each pair of halves rotated by its position's angle."""
    cosine, sine = rotation
    first, second = ops.split(heads, 2, axis=-1)
    return ops.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1)
