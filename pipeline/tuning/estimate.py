"""What a fine-tuning will hold in memory, said before it starts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import keras

from models.backbones import Backbone
from models.cost import kept_values
from models.freezing import SingleStack, depths
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
        memory: DeviceMemory. Bytes on a device that shares no weights with others; activations are 0 where the
            backbone is not one stack of blocks, so that there is no formula for them.
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
    backbone: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    rows: int,
    sequence_length: int,
) -> Estimate:
    """Return the numbers of a fine-tuning.

    Args:
        model: keras.Model. Built, frozen as the method wants.
        trained: keras.Model. What is trained: the model or its head.
        backbone: keras.Model. Of the model.
        optimizer: keras.optimizers.Optimizer. Built for what is trained.
        rows: int. Of a micro-batch on the device.
        sequence_length: int. Tokens in a row.
    """
    parameters, trainable = _size(model.weights), _size(trained.trainable_variables)
    slots = _size(variable for variable in optimizer.variables if len(variable.shape))
    memory = DeviceMemory(
        weights=FLOAT * parameters,
        gradients=FLOAT * trainable,
        optimizer=FLOAT * slots,
        gathered=0,
        activations=round(FLOAT * _activations(model, trained, backbone, rows, sequence_length)),
    )
    return Estimate(parameters, trainable, slots, memory)


def _activations(
    model: keras.Model, trained: keras.Model, backbone: keras.Model, rows: int, sequence_length: int
) -> float:
    """Return how many numbers are kept for the backward pass, which ends at the deepest weight that is trained."""
    if not isinstance(backbone, SingleStack):
        return 0.0
    if trained is not model:
        return float(rows * backbone.hidden_dim)
    depth_of = depths(backbone)
    # An adapter is no weight of the backbone that was built, but one lies in every block.
    deepest = max(
        depth_of.get(id(v), backbone.num_layers if "lora" in v.name else 0) for v in trained.trainable_variables
    )
    stack = _dimensions(backbone, min(deepest, backbone.num_layers))
    return rows * sequence_length * kept_values(stack, 0, sequence_length, 1.0, SCORE_COPIES)


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
