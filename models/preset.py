"""An encoder of KerasHub in the place of one of ours."""

from __future__ import annotations

import importlib
from typing import Any

import keras
from keras import ops

from models.packed import PackedModel, Tensor


@keras.saving.register_keras_serializable(package="tradewind")
class PresetEncoder(PackedModel):
    """An encoder of KerasHub (BERT, RoBERTa, ...) behind the surface that heads and tuning methods use.

    It knows of no documents side by side, so a row holds one text: every token with a segment number sees every other.
    What KerasHub puts on top of the last block, such as BERT's pooler, is left out: no head of ours reads it.

    Args:
        backbone: keras_hub.models.Backbone. With the inputs `token_ids`, `padding_mask` and perhaps `segment_ids`.
        vocabulary_size: int. Tokens of its tokenizer; the backbone may embed more.
        separator: int. The token between a text and its second text.
    """

    causal = False
    packs = False

    def __init__(self, backbone: keras.Model, vocabulary_size: int, separator: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.separator = separator
        self.hidden_dim: int = backbone.hidden_dim
        # Not tracked: its weights are those of `states`, but for what is left out.
        object.__setattr__(self, "backbone", backbone)
        outputs = backbone.output
        states = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
        self.states = keras.Model(backbone.input, states, name="states")
        self.built = True

    @property
    def blocks(self) -> list[keras.layers.Layer]:
        """The Transformer's layers, the lowest first."""
        return list(self.backbone.transformer_layers)

    @property
    def num_layers(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    def levels(self) -> list[list[keras.layers.Layer]]:
        """Return the layers by their depth below the head: no final norm, the blocks from the top, what embeds."""
        blocks = self.blocks
        inside = {id(block) for block in blocks}
        embedding = [layer for layer in self.states.layers if id(layer) not in inside]
        return [[], *([block] for block in reversed(blocks)), embedding]

    def build(self, input_shape: dict[str, tuple[int | None, ...]]) -> None:  # noqa: ARG002 (it was built when made)
        """Do nothing: the weights are there."""
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return the hidden states, (batch, seq, hidden), of `token_ids` and `segment_ids`, one text in each row."""
        tokens = inputs["token_ids"]  # (batch, seq)
        present = ops.cast(inputs["segment_ids"] > 0, "int32")
        given = {"token_ids": tokens, "padding_mask": present}
        if "segment_ids" in self.backbone.input:
            ends = ops.cast(ops.equal(tokens, self.separator), "int32") * present
            behind = ops.cumsum(ends, axis=1) - ends  # separators before each token
            given["segment_ids"] = ops.cast(behind > 0, "int32") * present  # 1 in the second text
        return self.states(given, training=training)

    def states_at(self, inputs: dict[str, Tensor], positions: Tensor | None, training: bool | None = None) -> Tensor:
        """Return the hidden states, (batch, queries, hidden), at `positions`, (batch, queries) int32; None: all."""
        hidden = self(inputs, training=training)
        return hidden if positions is None else ops.take_along_axis(hidden, positions[..., None], axis=1)

    def compute_output_shape(self, input_shape: dict[str, tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (batch, seq, hidden)."""
        return (*input_shape["token_ids"], self.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "vocabulary_size": self.vocabulary_size,
            "separator": self.separator,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PresetEncoder:
        """Rebuild the encoder from `get_config`. Raises ImportError without KerasHub."""
        require_keras_hub()
        return cls(backbone=keras.saving.deserialize_keras_object(config.pop("backbone")), **config)


def require_keras_hub() -> Any:
    """Return KerasHub, whose layers Keras knows by name from then on. Raises ImportError when it is not installed."""
    try:
        return importlib.import_module("keras_hub")
    except ModuleNotFoundError as error:
        if error.name != "keras_hub":
            raise
        raise ImportError(
            "the backbone is a KerasHub preset, and KerasHub is not installed; pip install 'tradewind[hub]'"
        ) from error
