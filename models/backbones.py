"""The backbones: encoder, decoder and encoder-decoder, from the same blocks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.block import Stack
from models.packed import PAIRED_INPUT, PackedModel, Tensor


class Backbone(PackedModel):
    """What all backbones are made from: an embedding and a stack of blocks.

    Args:
        vocabulary_size: int. Token ids are below it.
        num_layers: int. Blocks; of an encoder-decoder, on either side.
        hidden_dim: int. Width.
        num_heads: int. Query heads.
        num_key_value_heads: int. Key and value heads.
        feedforward_dim: int. Inner width of the feed-forward.
        dropout: float. Rate after the embedding and inside the blocks.
        feedforward: str. `geglu` or `relu2`.
        query_key_norm: bool. Norm queries and keys.
        tie_embeddings: bool. Project onto the vocabulary with the embedding itself.
    """

    causal = False

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        hidden_dim: int,
        num_heads: int,
        num_key_value_heads: int,
        feedforward_dim: int,
        dropout: float = 0.0,
        feedforward: str = "geglu",
        query_key_norm: bool = True,
        tie_embeddings: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.tie_embeddings = tie_embeddings
        self.dropout = dropout
        self._block = {
            "num_heads": num_heads,
            "num_key_value_heads": num_key_value_heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
            "feedforward": feedforward,
            "query_key_norm": query_key_norm,
        }
        policy = self.dtype_policy
        self.embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            hidden_dim,
            tie_weights=tie_embeddings,
            embeddings_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=policy,
            name="embedding",
        )
        self.embedding_norm = keras.layers.RMSNormalization(dtype=policy, name="embedding_norm")
        self.embedding_dropout = keras.layers.Dropout(dropout, dtype=policy, name="embedding_dropout")
        self.stack = Stack(num_layers, self.causal, self._block, dtype=policy, name="stack")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        hidden_shape = (*input_shape["token_ids"], self.hidden_dim)
        self.embedding.build(input_shape["token_ids"])
        self.embedding_norm.build(hidden_shape)
        self.stack.build(hidden_shape)
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return the hidden states, (batch, seq, hidden), of packed `token_ids` and `segment_ids`."""
        return self.states_at(inputs, None, training)

    def states_at(self, inputs: dict[str, Tensor], positions: Tensor | None, training: bool | None = None) -> Tensor:
        """Return the hidden states, (batch, queries, hidden), at `positions`, (batch, queries) int32; None: everywhere.

        They equal those of `call` there, but the last block computes no others.
        """
        hidden = self.embed(inputs["token_ids"], training)
        return self.stack(hidden, inputs["segment_ids"], positions, training=training)

    def embed(self, token_ids: Tensor, training: bool | None = None) -> Tensor:
        """Return the embedded tokens, (batch, seq, hidden)."""
        hidden = self.embedding_norm(self.embedding(token_ids))
        return self.embedding_dropout(hidden, training=training)

    def levels(self) -> list[list[keras.layers.Layer]]:
        """Return the layers by their depth below the head: the final norm, the blocks from the top, what embeds."""
        blocks = ([block] for block in reversed(self.stack.blocks))
        return [[self.stack.final_norm], *blocks, [self.embedding, self.embedding_norm]]

    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        """Return (batch, queries, vocabulary) from (batch, queries, hidden)."""
        batch, queries = ops.shape(hidden)[0], ops.shape(hidden)[1]
        # Flat rows: see `Projection`.
        flat = self.embedding(ops.reshape(hidden, (-1, self.hidden_dim)), reverse=True)
        return ops.reshape(flat, (batch, queries, self.vocabulary_size))

    def compute_output_shape(self, input_shape: dict[str, tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (batch, seq, hidden)."""
        return (*input_shape["token_ids"], self.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), **self.architecture()}

    def architecture(self) -> dict[str, Any]:
        """Return the arguments that decide the weights and the outputs, and no others."""
        return {
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "hidden_dim": self.hidden_dim,
            "tie_embeddings": self.tie_embeddings,
            **self._block,
        }


@keras.saving.register_keras_serializable(package="tradewind")
class Encoder(Backbone):
    """Every token sees its whole document. Arguments as of `Backbone`."""


@keras.saving.register_keras_serializable(package="tradewind")
class Decoder(Backbone):
    """Every token sees itself and what stands before it in its document. Arguments as of `Backbone`."""

    causal = True


@keras.saving.register_keras_serializable(package="tradewind")
class EncoderDecoder(PackedModel):
    """An encoder, and a decoder that looks at it; both read the same embedding. Arguments as of `Backbone`."""

    input_shapes = PAIRED_INPUT

    def __init__(self, *arguments: Any, **options: Any) -> None:
        kept = {key: options.pop(key) for key in ("name", "dtype", "trainable") if key in options}
        super().__init__(**kept)
        self.encoder = Encoder(*arguments, **options, dtype=self.dtype_policy, name="encoder")
        block = self.encoder.stack.block | {"cross_attention": True}
        self.stack = Stack(self.encoder.num_layers, True, block, dtype=self.dtype_policy, name="stack")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        if not self.encoder.built:
            self.encoder.build(input_shape)
        self.stack.build((*input_shape["decoder_token_ids"], self.encoder.hidden_dim))
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return the decoder's hidden states, (batch, decoder seq, hidden).

        Args:
            inputs: `token_ids` and `segment_ids` for the encoder, `decoder_token_ids` and `decoder_segment_ids`; a
                decoder's token sees the encoder's tokens of the same segment number.
            training: bool. Whether dropout acts.
        """
        source = self.encoder(inputs, training=training)
        hidden = self.embed(inputs["decoder_token_ids"], training)
        return self.stack(hidden, inputs["decoder_segment_ids"], None, source, inputs["segment_ids"], training=training)

    def embed(self, token_ids: Tensor, training: bool | None = None) -> Tensor:
        """Return the embedded tokens, (batch, seq, hidden)."""
        return self.encoder.embed(token_ids, training)

    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        """Return (batch, queries, vocabulary) from (batch, queries, hidden)."""
        return self.encoder.vocabulary_logits(hidden)

    def compute_output_shape(self, input_shape: dict[str, tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (batch, decoder seq, hidden)."""
        return (*input_shape["decoder_token_ids"], self.encoder.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), **self.architecture()}

    def architecture(self) -> dict[str, Any]:
        """Return the arguments that decide the weights and the outputs, and no others."""
        return self.encoder.architecture()
