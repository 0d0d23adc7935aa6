"""The one block that encoders, decoders and encoder-decoders are stacked from."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.attention import (
    Attention,
    KeyValue,
    Rotation,
    at_positions,
    rotary_angles,
    rotary_angles_at,
    rotation_at,
    visible,
)
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

    def extend(
        self,
        hidden: Tensor,
        mask: Tensor,
        rotation: Rotation,
        past: KeyValue,
        slot: Tensor,
        source: KeyValue | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Return what `call` returns for the next tokens only, (batch, queries, hidden), and the past with them in it.

        Args:
            hidden: (batch, queries, hidden). Of the next tokens.
            mask: (batch, 1, queries, slots) bool. Of the past with them in it.
            rotation: `rotary_angles_at` their positions.
            past: keys and values of the tokens so far, (batch, slots, heads, head) each.
            slot: scalar int32. Where the first of the next tokens is kept.
            source: keys and values of what cross-attention looks at, (texts, source, heads, head) each; a text can have
                several rows of the batch, one after the other.
            source_mask: (texts, 1, 1, source) bool.
        """
        normed = self.attention_norm(hidden)
        start = ops.stack([ops.zeros_like(slot), slot, ops.zeros_like(slot), ops.zeros_like(slot)])
        new = self.attention.keys_and_values(normed, rotation)
        key, value = (ops.slice_update(kept, start, part) for kept, part in zip(past, new, strict=True))
        hidden = hidden + self.attention.look_at(normed, key, value, mask, rotation)
        if source is not None:
            texts, seen, width = ops.shape(source[0])[0], ops.shape(source[0])[1], hidden.shape[-1]
            # The rows of a text ask as if they were one, so that its source is held once.
            asking = ops.reshape(self.cross_norm(hidden), (texts, -1, width))
            shown = ops.broadcast_to(source_mask, (texts, 1, ops.shape(asking)[1], seen))
            hidden = hidden + ops.reshape(self.cross.look_at(asking, *source, shown), ops.shape(hidden))
        return hidden + self.feedforward(self.feedforward_norm(hidden)), (key, value)

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
        seq = ops.shape(segments)[1]
        everywhere = ops.arange(seq, dtype="int32")[None, :]  # (1, seq)
        rotation = rotary_angles(seq, self.head_dim, self.compute_dtype)
        mask = visible(segments, segments, everywhere if self.causal else None)
        source_mask = None if source is None else visible(segments, source_segments)
        for block in self.blocks[:-1]:
            hidden = block(hidden, mask, rotation, None, source, source_mask, training=training)
        if positions is not None:
            asking = ops.take_along_axis(segments, positions, axis=1)
            mask = visible(asking, segments, positions if self.causal else None)
            source_mask = None if source is None else visible(asking, source_segments)
        hidden = self.blocks[-1](hidden, mask, rotation, positions, source, source_mask, training=training)
        return self.final_norm(hidden)

    def extend(
        self,
        hidden: Tensor,
        mask: Tensor,
        positions: Tensor,
        past: tuple[KeyValue, ...],
        slot: Tensor,
        source: tuple[KeyValue, ...] | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, tuple[KeyValue, ...]]:
        """Return what `call` returns for the next tokens only, and the past of each block with them in it.

        Args:
            hidden: (batch, queries, hidden). Of the next tokens.
            mask: (batch, 1, queries, slots) bool.
            positions: (batch, queries) int32. Where in their documents the next tokens stand.
            past: of each block; `empty_past` before the first token.
            slot: scalar int32. Where the first of the next tokens is kept.
            source: of each block, `source_keys`.
            source_mask: (texts, 1, 1, source) bool. See `Block.extend`.
        """
        rotation = rotary_angles_at(positions, self.head_dim, self.compute_dtype)
        sources = source or (None,) * self.num_layers
        pasts = []
        for block, kept, seen in zip(self.blocks, past, sources, strict=True):
            hidden, kept = block.extend(hidden, mask, rotation, kept, slot, seen, source_mask)
            pasts.append(kept)
        return self.final_norm(hidden), tuple(pasts)

    def empty_past(self, batch: int, slots: int) -> tuple[KeyValue, ...]:
        """Return the past of each block with room for `slots` tokens: (batch, slots, heads, head), keys and values."""
        shape = (batch, slots, self.block["num_key_value_heads"], self.head_dim)
        return tuple((ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)) for _ in self.blocks)

    def source_keys(self, source: Tensor) -> tuple[KeyValue, ...]:
        """Return what cross-attention in each block needs of `source`, (batch, source, hidden)."""
        return tuple(block.cross.keys_and_values(source) for block in self.blocks)

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
