"""One optimizer update, on the backend that is loaded.

Every backend does the same: sum the gradients of all micro-batches, each loss being a sum over valid items divided by
the number of valid items of the global batch, and apply the optimizer once. So k micro-batches equal one big batch,
with unequal numbers of items too, and schedules and averages count global batches. Keras's own averages per
micro-batch. Dividing the loss rather than its gradient costs nothing, and keeps gradients inside float16's range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import keras
from keras import ops

from models.objectives import Sums
from models.packed import Tensor
from models.parallel import MeshShape
from pipeline.training.batches import Batch

Objective = Callable[[keras.Model, dict[str, Tensor], bool], Sums]


class Update(NamedTuple):
    """What one update tells, as float32 scalars on the device that may not be ready yet.

    Attributes:
        loss: Tensor. Summed over the valid items of the global batch.
        weight: Tensor. Their number.
        correct: Tensor. How many of them were answered right.
        gradient_norm: Tensor. Global norm of the mean gradient, before clipping; not finite when float16 overflowed.
        tokens: Tensor. How many tokens the global batch had.
    """

    loss: Tensor
    weight: Tensor
    correct: Tensor
    gradient_norm: Tensor
    tokens: Tensor


class Stepper(Protocol):
    """Trains a model by whole optimizer updates."""

    def update(self, batch: Batch) -> Update:
        """Apply one update to the mean loss over the batch's `weights`; a batch without weight trains nothing."""

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training, by the averaged weights where they are kept."""

    def write_back(self) -> None:
        """Make the Keras variables of model and optimizer show the current state, up to the next update."""

    def read_in(self) -> None:
        """Take the state from the Keras variables of model and optimizer."""


def make_stepper(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    objective: Objective,
    shape: MeshShape | None = None,
    gather: Literal["update", "micro_batch"] = "update",
) -> Stepper:
    """Return the stepper of the backend that Keras runs on.

    Args:
        model: keras.Model. Built.
        optimizer: keras.optimizers.Optimizer. Built for the model.
        objective: callable. What is minimised.
        shape: MeshShape or None. Of the devices, which the backend must be able to train on; None: one.
        gather: str. See `JaxStepper`.

    Raises:
        ValueError: Keras runs on a backend that has none.
    """
    match keras.backend.backend():
        case "jax":
            from pipeline.training.jax_stepper import JaxStepper

            return JaxStepper(model, optimizer, objective, shape, gather)
        case "tensorflow":
            from pipeline.training.tensorflow_stepper import TensorFlowStepper

            return TensorFlowStepper(model, optimizer, objective)
        case "torch":
            from pipeline.training.torch_stepper import TorchStepper

            return TorchStepper(model, optimizer, objective)
        case other:
            raise ValueError(f"Keras runs on {other!r}; training needs jax, tensorflow or torch")


def loss_factor(batch: dict[str, Tensor], optimizer: keras.optimizers.Optimizer) -> Tensor:
    """Return the factor of a micro-batch's summed loss: the loss scale over the weight of the global batch."""
    weight = ops.sum(ops.cast(batch["weights"], "float32"))
    return optimizer.scale_loss(1.0 / ops.where(weight > 0, weight, 1.0))


def token_count(batch: dict[str, Tensor]) -> Tensor:
    """Return how many tokens a batch has that are no padding; of one without tokens, the weight of its items."""
    if "segment_ids" in batch:
        return ops.sum(ops.cast(batch["segment_ids"] > 0, "float32"))
    return ops.sum(ops.cast(batch["weights"], "float32"))


def replaces_variable(variable: keras.Variable) -> bool:
    """Return whether the variable's gradient is its next value, as for the scales of float8.

    Of several micro-batches the largest one counts, so that no scale is too small for any of them.
    """
    return bool(getattr(variable, "overwrite_with_gradient", False))
