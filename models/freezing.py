"""Which weights of a model with a pretrained backbone are trained: those that are not are in no optimizer."""

from __future__ import annotations

import keras

from models.backbones import Decoder, Encoder
from models.packed import Tensor
from models.preset import PresetEncoder

SingleStack = Encoder | Decoder
Leveled = Encoder | Decoder | PresetEncoder


def depths(backbone: Leveled) -> dict[int, int]:
    """Return how deep below the head each weight of the backbone lies, by the id of its variable.

    The final norm has 0, the top block 1, the lowest block `num_layers`, and the embedding one more.

    Raises:
        ValueError: the backbone is not one stack of blocks.
    """
    if not isinstance(backbone, Leveled):
        raise ValueError(
            f"{type(backbone).__name__} is no single stack of blocks that could be told apart by depth; use an encoder "
            "or a decoder of ours, or a method that needs no depth: full without layer_decay, or lora"
        )
    levels = enumerate(backbone.levels())
    return {id(variable): depth for depth, layers in levels for layer in layers for variable in layer.weights}


def train_top(backbone: Leveled, num_layers: int | None = None, norms_only: bool = False) -> None:
    """Freeze all but the top of a backbone.

    Args:
        backbone: Encoder, Decoder or PresetEncoder. Built.
        num_layers: int or None. Blocks from the top that are trained, with the final norm; None: everything.
        norms_only: bool. Of these, train only what has one dimension: the scales of norms; of a preset, biases.

    Raises:
        ValueError: there are not so many blocks, or the backbone is not one stack of them.
    """
    depth_of = depths(backbone)
    if num_layers is not None and num_layers > backbone.num_layers:
        raise ValueError(
            f"trainable_layers is {num_layers} and the backbone has {backbone.num_layers} blocks; set it to "
            f"{backbone.num_layers} or less"
        )
    deepest = backbone.num_layers + 1 if num_layers is None else num_layers
    for variable in backbone.weights:
        variable.trainable = depth_of[id(variable)] <= deepest and not (norms_only and len(variable.shape) > 1)


def freeze(backbone: keras.Model) -> None:
    """Freeze every weight of a backbone."""
    for variable in backbone.weights:
        variable.trainable = False


class Pooler(keras.Model):
    """What a model's head sees: its `pool`, without dropout.

    Args:
        model: keras.Model. Built, with `pool`.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model
        self.built = True

    def call(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return (batch, segments_per_row, hidden)."""
        return self.model.pool(inputs, training=False)


class HeadOnly(keras.Model):
    """A model's head, to be trained on what `Pooler` returned; it shares its weights with the model.

    Args:
        model: keras.Model. Built, with `answer`.
        backbone: keras.Model. The layer of it that is no part of the head.
    """

    def __init__(self, model: keras.Model, backbone: keras.Model) -> None:
        super().__init__()
        self.head = [layer for layer in model._layers if layer is not backbone]
        self._answer = model.answer  # a method, because a model kept here would bring its backbone along
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Return what the model returns, from `features`, (batch, segments_per_row, hidden)."""
        return self._answer(inputs["features"], training=training)
