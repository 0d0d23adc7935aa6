"""The optimizer update on torch, eagerly: autograd itself sums the gradients of the micro-batches."""

from __future__ import annotations

import keras
import torch

from models.objectives import Sums
from pipeline.training.batches import Batch
from pipeline.training.steppers import Objective


class TorchStepper:
    """Updates the Keras variables in place."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective

    def update(self, batch: Batch) -> Sums:
        """Apply one update and return the sums over the global batch."""
        variables = self.model.trainable_variables
        for variable in variables:
            variable.value.grad = None
        totals = []
        for index in range(len(batch["token_ids"])):
            sums = self.objective(self.model, _micro_batch(batch, index), True)
            self.optimizer.scale_loss(sums.loss).backward()
            totals.append([value.detach() for value in sums])
        sums = Sums(*(torch.stack(values).sum() for values in zip(*totals, strict=True)))
        weight = torch.clamp(sums.weight, min=1.0)
        gradients = [variable.value.grad / weight for variable in variables]
        with torch.no_grad():
            self.optimizer.apply(gradients, variables)
        return sums

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        with torch.no_grad():
            sums = [
                self.objective(self.model, _micro_batch(batch, index), False)
                for index in range(len(batch["token_ids"]))
            ]
        return Sums(*(torch.stack(list(values)).sum() for values in zip(*sums, strict=True)))

    def write_back(self) -> None:
        """Do nothing: the variables are the state."""

    def read_in(self) -> None:
        """Do nothing: the variables are the state."""


def _micro_batch(batch: Batch, index: int) -> dict[str, torch.Tensor]:
    return {name: keras.ops.convert_to_tensor(array[index]) for name, array in batch.items()}
