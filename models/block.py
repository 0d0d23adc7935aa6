"""The one block that encoders, decoders and encoder-decoders are stacked from."""

from __future__ import annotations

from typing import Any

import keras

from models.attention import Attention, Rotation, at_positions, rotary_angles, rotation_at, visible
from models.feedforward import FeedForward
from models.packed import Tensor


@keras.saving.register_keras_serializable(package="tradewind")
class Block(keras.layers.Layer):
    """Pre-norm attention and feed-forward, each with dropout and a residual (Xiong 2020, arXiv 2002.04745).

    Args:
        num_heads: int. Query heads.
        num_key_value_heads: int. Key and value heads.
        feedforward_dim: int. Inner width of the feed-forward.
        dropout: float. Rate after every half.
        feedforward: str. `geglu` or `relu2`.
        query_key_norm: bool. Norm queries and keys.
        cross_attention: bool. Look at a second sequence between the two halves.
    """

    def __init__(
        self,
        num_heads: int,
        num_key_value_heads: int,
        feedforward_dim: int,
        dropout: float = 0.0,
        feedforward: str = "geglu",
        query_key_norm: bool = True,
        cross_attention: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._arguments = {
            "num_heads": num_heads,
            "num_key_value_heads": num_key_value_heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
            "feedforward": feedforward,
            "query_key_norm": query_key_norm,
            "cross_attention": cross_attention,
        }
        policy = self.dtype_policy

        def half(name: str, layer: keras.layers.Layer) -> tuple[Any, Any, Any]:
            norm = keras.layers.RMSNormalization(dtype=policy, name=f"{name}_norm")
            return norm, layer, keras.layers.Dropout(dropout, dtype=policy, name=f"{name}_dropout")

        def attention(name: str) -> Attention:
            return Attention(num_heads, num_key_value_heads, query_key_norm, dtype=policy, name=name)

        self.attention_norm, self.attention, self.attention_dropout = half("attention", attention("attention"))
        self.cross_attention = cross_attention
        if cross_attention:
            self.cross_norm, self.cross, self.cross_dropout = half("cross", attention("cross"))
        self.feedforward_norm, self.feedforward, self.feedforward_dropout = half(
            "feedforward", FeedForward(feedforward_dim, feedforward, dtype=policy, name="feedforward")
        )

    def build(self, hidden_shape: tuple[int | None, ...], *_: Any) -> None:
        """Create the weights of all halves."""
        layers = [self.attention_norm, self.attention, self.feedforward_norm, self.feedforward]
        if self.cross_attention:
            layers += [self.cross_norm, self.cross]
        for layer in layers:
            layer.build(hidden_shape)
        self.built = True

    def call(
        self,
        hidden: Tensor,
        mask: Tensor,
        rotation: Rotation,
        positions: Tensor | None = None,
        source: Tensor | None = None,
        source_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Return (batch, queries, hidden) from (batch, seq, hidden).

        Args:
            hidden: (batch, seq, hidden).
            mask: (batch, 1, queries, seq) bool.
            rotation: `rotary_angles` of the row.
            positions: (batch, queries) int32. Where an output is wanted; None: everywhere.
            source: (batch, source, hidden). What cross-attention looks at.
            source_mask: (batch, 1, queries, source) bool.
            training: bool. Whether dropout acts.
        """
        normed = asking = self.attention_norm(hidden)
        query_rotation = rotation
        if positions is not None:
            asking, hidden = at_positions(normed, positions), at_positions(hidden, positions)
            query_rotation = rotation_at(rotation, positions)
        mixed = self.attention(asking, normed, mask, query_rotation, rotation)
        hidden = hidden + self.attention_dropout(mixed, training=training)
        if self.cross_attention:
            mixed = self.cross(self.cross_norm(hidden), source, source_mask)
            hidden = hidden + self.cross_dropout(mixed, training=training)
        changed = self.feedforward(self.feedforward_norm(hidden))
        return hidden + self.feedforward_dropout(changed, training=training)

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...], *_: Any) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return hidden_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), **self._arguments}


@keras.saving.register_keras_serializable(package="tradewind")
class Stack(keras.layers.Layer):
    """Blocks one after the other, and a norm.

    Args:
        num_layers: int. Blocks.
        causal: bool. No query looks ahead.
        block: dict. Constructor arguments of every `Block`.
    """

    def __init__(self, num_layers: int, causal: bool, block: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.causal = causal
        self.block = block
        policy = self.dtype_policy
        self.blocks = [Block(**block, dtype=policy, name=f"block_{index}") for index in range(num_layers)]
        self.final_norm = keras.layers.RMSNormalization(dtype=policy, name="final_norm")

    def build(self, hidden_shape: tuple[int | None, ...], *_: Any) -> None:
        """Create every weight."""
        for layer in (*self.blocks, self.final_norm):
            layer.build(hidden_shape)
        self.head_dim = hidden_shape[-1] // self.block["num_heads"]
        self.built = True

    def call(
        self,
        hidden: Tensor,
        segments: Tensor,
        positions: Tensor | None = None,
        source: Tensor | None = None,
        source_segments: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Return (batch, queries, hidden); with `positions` the last block computes only there.

        Args:
            hidden: (batch, seq, hidden).
            segments: (batch, seq) int32.
            positions: (batch, queries) int32. Where an output is wanted; None: everywhere.
            source: (batch, source, hidden). What cross-attention looks at.
            source_segments: (batch, source) int32.
            training: bool. Whether dropout acts.
        """
        seq = keras.ops.shape(segments)[1]
        everywhere = keras.ops.arange(seq, dtype="int32")[None, :]  # (1, seq)
        rotation = rotary_angles(seq, self.head_dim, self.compute_dtype)
        mask = visible(segments, segments, everywhere if self.causal else None)
        source_mask = None if source is None else visible(segments, source_segments)
        for block in self.blocks[:-1]:
            hidden = block(hidden, mask, rotation, None, source, source_mask, training=training)
        if positions is not None:
            asking = keras.ops.take_along_axis(segments, positions, axis=1)
            mask = visible(asking, segments, positions if self.causal else None)
            source_mask = None if source is None else visible(asking, source_segments)
        hidden = self.blocks[-1](hidden, mask, rotation, positions, source, source_mask, training=training)
        return self.final_norm(hidden)

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...], *_: Any) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return hidden_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "causal": self.causal,
            "block": self.block,
        }
