"""What a fine-tuning will hold in memory, said before it starts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import keras

from models.backbones import Backbone
from models.cost import kept_values
from models.freezing import depths
from models.parallel import FLOAT, DeviceMemory
from models.size import Dimensions

SCORE_COPIES = 3  # arrays of attention scores that are kept; see `kept_values`


@dataclass(frozen=True)
class Estimate:
    """Numbers of a fine-tuning.

    Attributes:
        parameters: int. All, adapters included.
        trainable_parameters: int. Those that are trained.
        optimizer_slots: int. Numbers that the optimizer keeps for them.
        memory: DeviceMemory. Bytes on a device that shares no weights with others.
    """

    parameters: int
    trainable_parameters: int
    optimizer_slots: int
    memory: DeviceMemory

    def sentence(self, method: str) -> str:
        """Return it in words."""
        share = self.trainable_parameters / self.parameters
        parts = ", ".join(f"{part} {size / 1e6:,.1f}" for part, size in self.memory.parts().items())
        return (
            f"method {method}: {self.trainable_parameters:,} of {self.parameters:,} parameters are trained "
            f"({share:.1%}), with {self.optimizer_slots:,} numbers in the optimizer; memory about "
            f"{self.memory.total / 1e6:,.1f} MB: {parts}"
        )


def estimate(
    model: keras.Model,
    trained: keras.Model,
    backbone: Backbone,
    optimizer: keras.optimizers.Optimizer,
    rows: int,
    sequence_length: int,
) -> Estimate:
    """Return the numbers of a fine-tuning.

    Args:
        model: keras.Model. Built, frozen as the method wants.
        trained: keras.Model. What is trained: the model or its head.
        backbone: Backbone. Of the model.
        optimizer: keras.optimizers.Optimizer. Built for what is trained.
        rows: int. Of a micro-batch on the device.
        sequence_length: int. Tokens in a row.
    """
    parameters, trainable = _size(model.weights), _size(trained.trainable_variables)
    slots = _size(variable for variable in optimizer.variables if len(variable.shape))
    deepest = max((depths(backbone).get(id(v), 0) for v in trained.trainable_variables), default=0)
    # An adapter's own depth is not known, but one lies in every block.
    layers = backbone.num_layers if any("lora" in v.name for v in trained.trainable_variables) else deepest
    kept = kept_values(_dimensions(backbone, min(layers, backbone.num_layers)), 0, sequence_length, 1.0, SCORE_COPIES)
    activations = rows * backbone.hidden_dim if trained is not model else rows * sequence_length * kept
    memory = DeviceMemory(
        weights=FLOAT * parameters,
        gradients=FLOAT * trainable,
        optimizer=FLOAT * slots,
        gathered=0,
        activations=round(FLOAT * activations),
    )
    return Estimate(parameters, trainable, slots, memory)


def _dimensions(backbone: Backbone, num_layers: int) -> Dimensions:
    """Return the dimensions of the blocks that the backward pass goes through."""
    block = backbone.stack.block
    return Dimensions(
        num_layers=num_layers,
        hidden_dim=backbone.hidden_dim,
        num_heads=block["num_heads"],
        num_key_value_heads=block["num_key_value_heads"],
        feedforward_dim=block["feedforward_dim"],
        learning_rate=0.0,
        architecture="decoder",  # every position is computed in every block
        feedforward=block["feedforward"],
    )


def _size(variables: Iterable[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
