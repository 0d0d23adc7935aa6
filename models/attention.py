"""Multi-head attention over packed rows, for self-attention and cross-attention alike.

A layer can ask from few positions and look at all of them: the last block of a masked language model does, and so does
a decoder that looks at an encoder. All kernels are 2-D and none has a bias. Queries, keys and values have a kernel
each: one for several was no faster, and could not be cut by heads for tensor parallelism.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.kernels import attend
from models.packed import Tensor
from models.projection import Projection

Rotation = tuple[Tensor, Tensor]
KeyValue = tuple[Tensor, Tensor]


@keras.saving.register_keras_serializable(package="tradewind")
class Attention(keras.layers.Layer):
    """Multi-head attention in which a query sees what its mask shows.

    softmax(Q K^T / sqrt(head_dim)) V (Vaswani 2017, arXiv 1706.03762) with rotary positions (Su 2021, arXiv
    2104.09864), RMS-normed queries and keys (Henry 2020, arXiv 2010.04245), and keys and values shared by groups of
    heads (Ainslie 2023, arXiv 2305.13245). Rotation is relative, so a segment gives the same output wherever in a
    packed row it lies.

    Args:
        num_heads: int. Query heads.
        num_key_value_heads: int. Key and value heads; divides `num_heads`.
        query_key_norm: bool. Norm queries and keys, head by head.
    """

    def __init__(
        self, num_heads: int, num_key_value_heads: int | None = None, query_key_norm: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads or num_heads
        self.query_key_norm = query_key_norm
        if query_key_norm:
            self.query_norm = keras.layers.RMSNormalization(dtype=self.dtype_policy, name="query_norm")
            self.key_norm = keras.layers.RMSNormalization(dtype=self.dtype_policy, name="key_norm")

    def build(self, hidden_shape: tuple[int | None, ...], *_: Any) -> None:
        """Create the projections and the norms."""
        hidden_dim = hidden_shape[-1]
        assert hidden_dim is not None
        self.head_dim = hidden_dim // self.num_heads
        width, shared = self.num_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        self.query = Projection(width, dtype=self.dtype_policy, name="query")
        self.key = Projection(shared, dtype=self.dtype_policy, name="key")
        self.value = Projection(shared, dtype=self.dtype_policy, name="value")
        self.output_projection = Projection(hidden_dim, dtype=self.dtype_policy, name="output")
        for projection in (self.query, self.key, self.value):
            projection.build(hidden_shape)
        self.output_projection.build((*hidden_shape[:-1], width))
        if self.query_key_norm:
            self.query_norm.build((None, None, self.num_heads, self.head_dim))
            self.key_norm.build((None, None, self.num_key_value_heads, self.head_dim))
        self.built = True

    def call(
        self,
        hidden: Tensor,
        source: Tensor,
        mask: Tensor,
        rotation: Rotation | None = None,
        source_rotation: Rotation | None = None,
    ) -> Tensor:
        """Return (batch, queries, hidden).

        Args:
            hidden: (batch, queries, hidden). Who asks.
            source: (batch, keys, hidden). What is looked at.
            mask: (batch, 1, queries, keys) bool. True where a query sees a key.
            rotation: `rotary_angles` of the queries; None leaves positions out.
            source_rotation: those of the keys.
        """
        key, value = self.keys_and_values(source, source_rotation)
        return self.look_at(hidden, key, value, mask, rotation)

    def keys_and_values(self, source: Tensor, rotation: Rotation | None = None) -> KeyValue:
        """Return what `look_at` needs of a source, (batch, keys, key and value heads, head) each.

        Args:
            source: (batch, keys, hidden). What is looked at.
            rotation: `rotary_angles` of the keys; None leaves positions out.
        """
        # The number of heads is spelled out: with -1 TensorFlow could not split rows of unknown length.
        shared = (ops.shape(source)[0], ops.shape(source)[1], self.num_key_value_heads, self.head_dim)
        key, value = ops.reshape(self.key(source), shared), ops.reshape(self.value(source), shared)
        if self.query_key_norm:
            key = self.key_norm(key)
        return key if rotation is None else rotate(key, rotation), value

    def look_at(
        self, hidden: Tensor, key: Tensor, value: Tensor, mask: Tensor, rotation: Rotation | None = None
    ) -> Tensor:
        """Return what `call` returns, from `keys_and_values` that may be older than what asks.

        Args:
            hidden: (batch, queries, hidden). Who asks.
            key: (batch, keys, key and value heads, head).
            value: (batch, keys, key and value heads, head).
            mask: (batch, 1, queries, keys) bool. True where a query sees a key.
            rotation: `rotary_angles` of the queries.
        """
        batch, queries = ops.shape(hidden)[0], ops.shape(hidden)[1]
        query = ops.reshape(self.query(hidden), (batch, queries, self.num_heads, self.head_dim))
        if self.query_key_norm:
            query = self.query_norm(query)
        if rotation is not None:
            query = rotate(query, rotation)
        repeats = self.num_heads // self.num_key_value_heads
        if repeats > 1:
            key, value = ops.repeat(key, repeats, axis=2), ops.repeat(value, repeats, axis=2)
        mixed = attend(query, key, value, mask)  # (batch, queries, heads, head)
        return self.output_projection(ops.reshape(mixed, (batch, queries, self.num_heads * self.head_dim)))

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...], *_: Any) -> tuple[int | None, ...]:
        """Return the queries' shape."""
        return hidden_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "query_key_norm": self.query_key_norm,
        }


def rotary_angles(seq: Tensor, head_dim: int, dtype: str, base: float = 10_000.0) -> Rotation:
    """Return cosines and sines, each (1, seq, 1, head_dim // 2), of the rotation at every position."""
    return rotary_angles_at(ops.arange(seq, dtype="float32")[None, :], head_dim, dtype, base)


def rotary_angles_at(positions: Tensor, head_dim: int, dtype: str, base: float = 10_000.0) -> Rotation:
    """Return cosines and sines, each (batch, queries, 1, head_dim // 2), at `positions`, (batch, queries)."""
    frequency = base ** (-ops.arange(0, head_dim, 2, dtype="float32") / head_dim)  # (head_dim // 2,)
    angle = ops.cast(positions, "float32")[:, :, None, None] * frequency  # (batch, queries, 1, head_dim // 2)
    return ops.cast(ops.cos(angle), dtype), ops.cast(ops.sin(angle), dtype)


def rotation_at(rotation: Rotation, positions: Tensor) -> Rotation:
    """Return cosines and sines, each (batch, queries, 1, head_dim // 2), at `positions`, (batch, queries) int32."""
    cosine, sine = (ops.take(ops.squeeze(part, axis=0), positions, axis=0) for part in rotation)
    return cosine, sine


def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
    """Return (batch, seq, heads, head_dim) with each pair of halves rotated by its position's angle."""
    cosine, sine = (ops.concatenate([part, part], axis=-1) for part in rotation)
    first, second = ops.split(heads, 2, axis=-1)
    return heads * cosine + ops.concatenate([-second, first], axis=-1) * sine


def visible(query_segments: Tensor, key_segments: Tensor, query_positions: Tensor | None = None) -> Tensor:
    """Return which keys each query sees, (batch, 1, queries, keys) bool: those of its own segment.

    Args:
        query_segments: (batch, queries) int32.
        key_segments: (batch, keys) int32.
        query_positions: (batch or 1, queries) int32. Where the queries stand; given, no query looks ahead.
    """
    mask = ops.equal(query_segments[:, None, :, None], key_segments[:, None, None, :])
    if query_positions is None:
        return mask
    keys = ops.arange(ops.shape(key_segments)[1], dtype="int32")
    return ops.logical_and(mask, ops.less_equal(keys[None, None, None, :], query_positions[:, None, :, None]))


def at_positions(hidden: Tensor, positions: Tensor) -> Tensor:
    """Return (batch, queries, width) of (batch, seq, width) at `positions`, (batch, queries) int32."""
    return ops.take_along_axis(hidden, positions[:, :, None], axis=1)
