"""The models that fine-tuning trains: a backbone and a head that answers for segments, or for tokens."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.backbones import Backbone
from models.ngrams import NgramBag
from models.packed import PackedModel, Tensor, pool_segments
from models.preset import PresetEncoder  # known by name to Keras from here on, so that a saved model is found


@keras.saving.register_keras_serializable(package="tradewind")
class SegmentClassifier(PackedModel):
    """Classifies every segment of a packed row by the mean of its hidden states; of a decoder, by the last one.

    With `ngrams` a linear model of the segment's letters answers beside the Transformer (wide and deep, Cheng 2016,
    arXiv 1606.07792). In training each segment is answered by one of the two, drawn by lot: answering together, the
    Transformer, which soon knows every training row by heart, leaves the other nothing to learn. Afterwards their
    logits are averaged.

    Args:
        encoder: Encoder, Decoder or PresetEncoder. The backbone.
        num_classes: int. Classes.
        segments_per_row: int. Segments answered per row; 1 when a row is one text.
        dropout: float. Rate before the output layer.
        ngrams: NgramBag or None. What the linear model reads.
        ngram_share: float. Its share of the averaged logits.
    """

    def __init__(
        self,
        encoder: Backbone | PresetEncoder,
        num_classes: int,
        segments_per_row: int = 1,
        dropout: float = 0.0,
        ngrams: NgramBag | None = None,
        ngram_share: float = 0.7,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.num_classes = num_classes
        self.segments_per_row = segments_per_row
        self.dropout = dropout
        self.head_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="head_dropout")
        # float32, because a softmax over half-precision logits loses the ranking of close answers.
        self.logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")
        self.ngrams = ngrams
        self.ngram_share = ngram_share
        if ngrams is not None:
            self.ngram_logits = keras.layers.Dense(num_classes, dtype="float32", name="ngram_logits")
            self.lots = keras.random.SeedGenerator()

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        if not self.encoder.built:  # a second build would make new weights beside the pretrained ones
            self.encoder.build(input_shape)
        self.logits.build((None, self.segments_per_row, self.encoder.hidden_dim))
        if self.ngrams is not None:
            if not self.ngrams.built:
                self.ngrams.build()
            self.ngram_logits.build((None, self.segments_per_row, self.ngrams.dim))
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return logits, (batch, segments_per_row, num_classes) float32."""
        answers = self.logits(self.head_dropout(self.pool(inputs, training=training), training=training))
        if self.ngrams is None:
            return self.finish(answers)
        numbers = ops.arange(1, self.segments_per_row + 1, dtype="int32")  # (segments,)
        linear = self.ngram_logits(self.ngrams(inputs["token_ids"], inputs["segment_ids"], numbers))
        if training:
            drawn = keras.random.uniform((*ops.shape(linear)[:2], 1), seed=self.lots) < 0.5
            return self.finish(ops.where(drawn, linear, answers))
        return self.finish(self.ngram_share * linear + (1 - self.ngram_share) * answers)

    def pool(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return what the backbone says of each segment, (batch, segments_per_row, hidden)."""
        hidden = self.encoder(inputs, training=training)  # (batch, seq, hidden)
        return pool_segments(hidden, inputs["segment_ids"], self.segments_per_row, last=self.encoder.causal)

    def answer(self, pooled: Tensor, training: bool | None = None) -> Tensor:
        """Return logits, (batch, segments_per_row, num_classes) float32, from what `pool` returned."""
        return self.finish(self.logits(self.head_dropout(pooled, training=training)))

    def finish(self, answers: Tensor) -> Tensor:
        """Return what the output layer says, (batch, segments_per_row, num_classes), as the model answers it."""
        return answers

    def shift(self, amounts: Tensor) -> None:
        """Add to the logits of each class, (num_classes,), for good."""
        for layer in (self.logits, self.ngram_logits) if self.ngrams is not None else (self.logits,):
            layer.bias.assign_add(amounts)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "num_classes": self.num_classes,
            "segments_per_row": self.segments_per_row,
            "dropout": self.dropout,
            "ngrams": None if self.ngrams is None else keras.saving.serialize_keras_object(self.ngrams),
            "ngram_share": self.ngram_share,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SegmentClassifier:
        """Rebuild the model from `get_config`."""
        inner = {name: config.pop(name, None) for name in ("encoder", "ngrams")}
        layers = {name: layer and keras.saving.deserialize_keras_object(layer) for name, layer in inner.items()}
        return cls(**layers, **config)


@keras.saving.register_keras_serializable(package="tradewind")
class SegmentRegressor(SegmentClassifier):
    """Answers every segment of a packed row with a number.

    The head learns in units of `scale` around `offset`, the spread and the mean of the training answers, so that the
    learning rate need not know them.

    Args:
        encoder: Encoder, Decoder or PresetEncoder. The backbone.
        offset: float. Added to what the head says.
        scale: float. Times which it is taken.
        options: as of `SegmentClassifier`.
    """

    def __init__(
        self, encoder: Backbone | PresetEncoder, offset: float = 0.0, scale: float = 1.0, **options: Any
    ) -> None:
        super().__init__(encoder, 1, **options)
        self.offset = offset
        self.scale = scale

    def finish(self, answers: Tensor) -> Tensor:
        """Return (batch, segments_per_row) float32."""
        return ops.squeeze(answers, axis=-1) * self.scale + self.offset

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {**super().get_config(), "offset": self.offset, "scale": self.scale}
        return {name: value for name, value in config.items() if name != "num_classes"}


@keras.saving.register_keras_serializable(package="tradewind")
class TokenClassifier(PackedModel):
    """Classifies every token of a packed row.

    Args:
        encoder: Encoder, Decoder or PresetEncoder. The backbone.
        num_classes: int. Classes.
        dropout: float. Rate before the output layer.
    """

    def __init__(
        self, encoder: Backbone | PresetEncoder, num_classes: int, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.num_classes = num_classes
        self.dropout = dropout
        self.head_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="head_dropout")
        self.logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        if not self.encoder.built:  # a second build would make new weights beside the pretrained ones
            self.encoder.build(input_shape)
        self.logits.build((*input_shape["token_ids"], self.encoder.hidden_dim))
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return logits, (batch, seq, num_classes) float32."""
        hidden = self.encoder(inputs, training=training)  # (batch, seq, hidden)
        return self.logits(self.head_dropout(hidden, training=training))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "num_classes": self.num_classes,
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TokenClassifier:
        """Rebuild the model from `get_config`."""
        return cls(encoder=keras.saving.deserialize_keras_object(config.pop("encoder")), **config)


@keras.saving.register_keras_serializable(package="tradewind")
class SpanClassifier(TokenClassifier):
    """Says of every token of a packed row how likely an answer begins, and ends, with it (Devlin 2018, section 4.2).

    Which tokens may, and which pairs of them make an answer, is decided where its logits are read: by
    `models.objectives.segment_spans` in training, and by `longest_answer` and `answers_none` when it is asked.

    Args:
        encoder: Encoder. The backbone.
        longest_answer: int. Most tokens of an answer.
        answers_none: bool. Whether it has learned that a text may hold no answer, which is then at its first token.
        dropout: float. Rate before the output layer.
    """

    def __init__(
        self,
        encoder: Backbone,
        longest_answer: int,
        answers_none: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, 2, dropout, **kwargs)
        self.longest_answer = longest_answer
        self.answers_none = answers_none

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {**super().get_config(), "longest_answer": self.longest_answer, "answers_none": self.answers_none}
        return {name: value for name, value in config.items() if name != "num_classes"}
