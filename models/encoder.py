"""The encoder backbone, and the two models trained on it: masked tokens and segment classification.

All take the same packed input, a dictionary of `token_ids` and `segment_ids`, both (batch, seq) int32: segment 0 is
padding, and the tokens of one document share a positive number. A row that holds one document is the case of one
segment, so training on packed rows and answering single texts is the same code.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.layers import EncoderBlock, Tensor, rotary_angles

PACKED_INPUT = {"token_ids": (None, None), "segment_ids": (None, None)}


class PackedModel(keras.Model):
    """A model over packed rows: it can be built, and rebuilt from a file, without seeing an example."""

    def get_build_config(self) -> dict[str, Any]:
        """Return the input's shape; were it empty, Keras would leave the reloaded model without weights."""
        return {"input_shape": PACKED_INPUT}

    def build_from_config(self, _config: dict[str, Any]) -> None:
        """Create every weight, so that a file's values find their place."""
        self.build(PACKED_INPUT)


@keras.saving.register_keras_serializable(package="tradewind")
class Encoder(PackedModel):
    """Pre-norm Transformer encoder over packed rows.

    Args:
        vocabulary_size: int. Token ids are below it.
        num_layers: int. Blocks.
        hidden_dim: int. Width.
        num_heads: int. Query heads.
        num_key_value_heads: int. Key and value heads.
        feedforward_dim: int. Inner width of the gated feed-forward.
        dropout: float. Rate after the embedding and inside the blocks.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        hidden_dim: int,
        num_heads: int,
        num_key_value_heads: int,
        feedforward_dim: int,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads
        self.feedforward_dim = feedforward_dim
        self.dropout = dropout
        policy = self.dtype_policy
        self.embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            hidden_dim,
            tie_weights=True,
            embeddings_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=policy,
            name="embedding",
        )
        self.embedding_norm = keras.layers.RMSNormalization(dtype=policy, name="embedding_norm")
        self.embedding_dropout = keras.layers.Dropout(dropout, dtype=policy, name="embedding_dropout")
        self.blocks = [
            EncoderBlock(num_heads, num_key_value_heads, feedforward_dim, dropout, dtype=policy, name=f"block_{index}")
            for index in range(num_layers)
        ]
        self.final_norm = keras.layers.RMSNormalization(dtype=policy, name="final_norm")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        hidden_shape = (*input_shape["token_ids"], self.hidden_dim)
        self.embedding.build(input_shape["token_ids"])
        for layer in (self.embedding_norm, *self.blocks, self.final_norm):
            layer.build(hidden_shape)
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return the hidden states, (batch, seq, hidden), of packed `token_ids` and `segment_ids`."""
        segment_ids = inputs["segment_ids"]
        mask = ops.equal(segment_ids[:, None, :, None], segment_ids[:, None, None, :])  # (batch, 1, seq, seq)
        rotation = rotary_angles(ops.shape(segment_ids)[1], self.hidden_dim // self.num_heads, self.compute_dtype)
        hidden = self.embedding_norm(self.embedding(inputs["token_ids"]))  # (batch, seq, hidden)
        hidden = self.embedding_dropout(hidden, training=training)
        for block in self.blocks:
            hidden = block(hidden, mask, rotation, training=training)
        return self.final_norm(hidden)

    def compute_output_shape(self, input_shape: dict[str, tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (batch, seq, hidden)."""
        return (*input_shape["token_ids"], self.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "feedforward_dim": self.feedforward_dim,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="tradewind")
class MaskedLanguageModel(PackedModel):
    """Predicts hidden tokens with the encoder's own embedding as output projection.

    Only the positions asked for reach the vocabulary projection: at 20 % of the tokens it costs a fifth.

    Args:
        encoder: Encoder. The backbone.
    """

    def __init__(self, encoder: Encoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.transform = keras.layers.Dense(
            encoder.hidden_dim, activation=gelu, use_bias=False, dtype=self.dtype_policy, name="transform"
        )
        self.norm = keras.layers.RMSNormalization(dtype=self.dtype_policy, name="norm")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        hidden_shape = (*input_shape["token_ids"], self.encoder.hidden_dim)
        if not self.encoder.built:  # a second build would make new weights beside the pretrained ones
            self.encoder.build(input_shape)
        self.transform.build(hidden_shape)
        self.norm.build(hidden_shape)
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return logits, (batch, predictions, vocabulary), at `inputs["positions"]`, (batch, predictions) int32."""
        hidden = self.encoder(inputs, training=training)
        chosen = ops.take_along_axis(hidden, inputs["positions"][:, :, None], axis=1)  # (batch, predictions, hidden)
        return self.encoder.embedding(self.norm(self.transform(chosen)), reverse=True)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "encoder": keras.saving.serialize_keras_object(self.encoder)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedLanguageModel:
        """Rebuild the model from `get_config`."""
        return cls(encoder=keras.saving.deserialize_keras_object(config.pop("encoder")), **config)


@keras.saving.register_keras_serializable(package="tradewind")
class SegmentClassifier(PackedModel):
    """Classifies every segment of a packed row: mean of its hidden states, one hidden layer, logits.

    Args:
        encoder: Encoder. The backbone.
        num_classes: int. Classes.
        segments_per_row: int. Segments answered per row; 1 when a row is one text.
        dropout: float. Rate before the output layer.
    """

    def __init__(
        self, encoder: Encoder, num_classes: int, segments_per_row: int = 1, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.num_classes = num_classes
        self.segments_per_row = segments_per_row
        self.dropout = dropout
        self.head_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="head_dropout")
        # float32, because a softmax over half-precision logits loses the ranking of close answers.
        self.logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        if not self.encoder.built:  # a second build would make new weights beside the pretrained ones
            self.encoder.build(input_shape)
        self.logits.build((None, self.segments_per_row, self.encoder.hidden_dim))
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return logits, (batch, segments_per_row, num_classes) float32."""
        hidden = self.encoder(inputs, training=training)  # (batch, seq, hidden)
        numbers = ops.arange(1, self.segments_per_row + 1, dtype="int32")[None, :, None]  # (1, segments, 1)
        member = ops.cast(ops.equal(inputs["segment_ids"][:, None, :], numbers), hidden.dtype)  # (batch, segments, seq)
        size = ops.maximum(ops.sum(member, axis=-1, keepdims=True), 1)
        pooled = ops.matmul(member, hidden) / size  # (batch, segments, hidden)
        return self.logits(self.head_dropout(pooled, training=training))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "num_classes": self.num_classes,
            "segments_per_row": self.segments_per_row,
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SegmentClassifier:
        """Rebuild the model from `get_config`."""
        return cls(encoder=keras.saving.deserialize_keras_object(config.pop("encoder")), **config)


@keras.saving.register_keras_serializable(package="tradewind")
def gelu(inputs: Tensor) -> Tensor:
    """Return the tanh form of GELU, as in `GatedFeedForward`."""
    return ops.gelu(inputs, approximate=True)
