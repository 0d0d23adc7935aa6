"""The optimizer update on torch, eagerly: autograd itself sums the gradients of the micro-batches."""

from __future__ import annotations

import keras
import torch

from models.objectives import Sums
from pipeline.training.batches import Batch
from pipeline.training.optimizer import averages
from pipeline.training.steppers import Objective, Update, loss_factor, replaces_variable


class TorchStepper:
    """Updates the Keras variables in place."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective

    def update(self, batch: Batch) -> Update:
        """Apply one update to the mean loss over the global batch."""
        variables = self.model.trainable_variables
        parameters = [variable.value for variable in variables]
        for parameter in parameters:
            parameter.grad = None
        replaced = [p for p, variable in zip(parameters, variables, strict=True) if replaces_variable(variable)]
        largest = [torch.zeros_like(parameter) for parameter in replaced]
        tensors = _on_device(batch)
        factor = loss_factor(tensors, self.optimizer)
        totals = []
        for index in range(len(batch["weights"])):
            sums = self.objective(self.model, {name: tensor[index] for name, tensor in tensors.items()}, True)
            (sums.loss * factor).backward()
            totals.append([value.detach() for value in sums])
            for kept, parameter in zip(largest, replaced, strict=True):
                torch.maximum(kept, parameter.grad, out=kept)
                parameter.grad = None
        with torch.no_grad():
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            norm = norm / self.optimizer.scale_loss(1.0)
            for kept, parameter in zip(largest, replaced, strict=True):
                parameter.grad = kept
            self.optimizer.apply([parameter.grad for parameter in parameters], variables)
        return Update(*_total(totals), norm)

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        tensors = _on_device(batch)
        with torch.no_grad(), keras.StatelessScope(state_mapping=averages(self.optimizer)):
            sums = [
                list(self.objective(self.model, {name: tensor[index] for name, tensor in tensors.items()}, False))
                for index in range(len(batch["weights"]))
            ]
        return _total(sums)

    def write_back(self) -> None:
        """Do nothing: the variables are the state."""

    def read_in(self) -> None:
        """Do nothing: the variables are the state."""


def _on_device(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: keras.ops.convert_to_tensor(array) for name, array in batch.items()}


def _total(sums: list[list[torch.Tensor]]) -> Sums:
    return Sums(*(torch.stack(values).sum() for values in zip(*sums, strict=True)))
