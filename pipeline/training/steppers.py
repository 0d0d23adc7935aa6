"""One optimizer update, on the backend that is loaded.

Every backend does the same: sum the gradients of all micro-batches, each loss being a sum over valid items, divide once
by the number of valid items of the global batch, and apply the optimizer once. So k micro-batches equal one big batch,
with unequal numbers of items too, and schedules count global batches. Keras's own averages per micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import keras

from models.layers import Tensor
from models.objectives import Sums
from pipeline.training.batches import Batch

Objective = Callable[[keras.Model, dict[str, Tensor], bool], Sums]


class Stepper(Protocol):
    """Trains a model by whole optimizer updates."""

    def update(self, batch: Batch) -> Sums:
        """Apply one update and return the sums over the global batch, as device scalars that may not be ready yet."""

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""

    def write_back(self) -> None:
        """Make the Keras variables of model and optimizer show the current state."""

    def read_in(self) -> None:
        """Take the state from the Keras variables of model and optimizer."""


def make_stepper(model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> Stepper:
    """Return the stepper of the backend that Keras runs on.

    Raises:
        ValueError: Keras runs on a backend that has none.
    """
    match keras.backend.backend():
        case "jax":
            from pipeline.training.jax_stepper import JaxStepper

            return JaxStepper(model, optimizer, objective)
        case "tensorflow":
            from pipeline.training.tensorflow_stepper import TensorFlowStepper

            return TensorFlowStepper(model, optimizer, objective)
        case "torch":
            from pipeline.training.torch_stepper import TorchStepper

            return TorchStepper(model, optimizer, objective)
        case other:
            raise ValueError(f"Keras runs on {other!r}; training needs jax, tensorflow or torch")
