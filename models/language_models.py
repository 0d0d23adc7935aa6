"""The models that pretraining trains: each puts a vocabulary projection on its backbone."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.backbones import Backbone, Decoder, Encoder, EncoderDecoder
from models.feedforward import gelu
from models.packed import PAIRED_INPUT, PackedModel, Tensor, pool_segments
from models.projection import Projection


class LanguageModel(PackedModel):
    """Predicts tokens from the states of a backbone.

    Args:
        backbone: Encoder, Decoder or EncoderDecoder.
    """

    def __init__(self, backbone: Backbone | EncoderDecoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone = backbone

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        if not self.backbone.built:  # a second build would make new weights beside the pretrained ones
            self.backbone.build(input_shape)
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return logits, (batch, seq, vocabulary)."""
        return self.backbone.vocabulary_logits(self.backbone(inputs, training=training))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "backbone": keras.saving.serialize_keras_object(self.backbone)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LanguageModel:
        """Rebuild the model from `get_config`."""
        return cls(backbone=keras.saving.deserialize_keras_object(config.pop("backbone")), **config)


@keras.saving.register_keras_serializable(package="tradewind")
class MaskedLanguageModel(LanguageModel):
    """Predicts hidden tokens. Only the positions asked for reach the last feed-forward and the vocabulary projection.

    Args:
        backbone: Encoder.
    """

    def __init__(self, backbone: Encoder, **kwargs: Any) -> None:
        super().__init__(backbone, **kwargs)
        policy = self.dtype_policy
        self.transform = Projection(backbone.hidden_dim, activation=gelu, dtype=policy, name="transform")
        self.norm = keras.layers.RMSNormalization(dtype=policy, name="norm")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        super().build(input_shape)
        hidden_shape = (*input_shape["token_ids"], self.backbone.hidden_dim)
        self.transform.build(hidden_shape)
        self.norm.build(hidden_shape)

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return logits, (batch, predictions, vocabulary), at `inputs["positions"]`, (batch, predictions) int32."""
        hidden = self.backbone.states_at(inputs, inputs["positions"], training)  # (batch, predictions, hidden)
        return self.backbone.vocabulary_logits(self.norm(self.transform(hidden)))


@keras.saving.register_keras_serializable(package="tradewind")
class GroupedLanguageModel(MaskedLanguageModel):
    """Predicts hidden tokens and, where it is asked, which group each segment is of, from the mean of its states.

    Args:
        backbone: Encoder.
        num_groups: int. Groups that are told apart.
    """

    def __init__(self, backbone: Encoder, num_groups: int, **kwargs: Any) -> None:
        super().__init__(backbone, **kwargs)
        self.num_groups = num_groups
        self.group_logits = keras.layers.Dense(num_groups, dtype="float32", name="group_logits")

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:
        """Create every weight."""
        super().build(input_shape)
        self.group_logits.build((*input_shape["token_ids"], self.backbone.hidden_dim))

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits, (batch, predictions, vocabulary), and with `inputs["groups"]`, (batch, segments), of groups.

        The latter are (batch, segments, num_groups) float32.
        """
        if "groups" not in inputs:
            return super().call(inputs, training)
        hidden = self.backbone(inputs, training=training)  # (batch, seq, hidden)
        asked = ops.take_along_axis(hidden, inputs["positions"][:, :, None], axis=1)  # (batch, predictions, hidden)
        pooled = pool_segments(hidden, inputs["segment_ids"], inputs["groups"].shape[-1])
        return self.backbone.vocabulary_logits(self.norm(self.transform(asked))), self.group_logits(pooled)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_groups": self.num_groups}


@keras.saving.register_keras_serializable(package="tradewind")
class CausalLanguageModel(LanguageModel):
    """Predicts the next token at every position.

    Args:
        backbone: Decoder.
    """

    def __init__(self, backbone: Decoder, **kwargs: Any) -> None:
        super().__init__(backbone, **kwargs)


@keras.saving.register_keras_serializable(package="tradewind")
class SpanLanguageModel(LanguageModel):
    """Writes out the spans that its encoder's row has lost (Raffel 2020, arXiv 1910.10683).

    Args:
        backbone: EncoderDecoder.
    """

    input_shapes = PAIRED_INPUT

    def __init__(self, backbone: EncoderDecoder, **kwargs: Any) -> None:
        super().__init__(backbone, **kwargs)
