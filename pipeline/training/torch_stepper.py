"""The optimizer update on torch, eagerly: autograd itself sums the gradients of the micro-batches."""

from __future__ import annotations

import keras
import torch

from models.objectives import Sums
from pipeline.training.batches import Batch
from pipeline.training.optimizer import averages
from pipeline.training.processes import num_processes, process_id
from pipeline.training.steppers import Objective, Update, loss_factor, replaces_variable, token_count

SEED_STRIDE = 1_000_003


class TorchStepper:
    """Updates the Keras variables in place."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self.several = num_processes() > 1
        if self.several:  # so that no two draw the same dropout mask
            torch.manual_seed(torch.initial_seed() + SEED_STRIDE * process_id())

    def update(self, batch: Batch) -> Update:
        """Apply one update to the mean loss over the global batch."""
        variables = self.model.trainable_variables
        parameters = [variable.value for variable in variables]
        for parameter in parameters:
            parameter.grad = None
        replaced = [p for p, variable in zip(parameters, variables, strict=True) if replaces_variable(variable)]
        largest = [torch.zeros_like(parameter) for parameter in replaced]
        tensors = _on_device(batch)
        factor = loss_factor({"weights": self._total(tensors["weights"].sum())}, self.optimizer)
        totals = []
        for index in range(len(batch["weights"])):
            sums = self.objective(self.model, {name: tensor[index] for name, tensor in tensors.items()}, True)
            (sums.loss * factor).backward()
            totals.append([value.detach() for value in sums[:3]])
            for kept, parameter in zip(largest, replaced, strict=True):
                torch.maximum(kept, parameter.grad, out=kept)
                parameter.grad = None
        with torch.no_grad():
            totals = self._total(torch.stack([*_total(totals)[:3], token_count(tensors)]))
            self._exchange(parameters, largest)
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            norm = norm / self.optimizer.scale_loss(1.0)
            for kept, parameter in zip(largest, replaced, strict=True):
                parameter.grad = kept
            self.optimizer.apply([parameter.grad for parameter in parameters], variables)
        loss, weight, correct, tokens = totals
        return Update(loss, weight, correct, norm, tokens)

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        tensors = _on_device(batch)
        with torch.no_grad(), keras.StatelessScope(state_mapping=averages(self.optimizer)):
            sums = [
                self.objective(self.model, {name: tensor[index] for name, tensor in tensors.items()}, False)
                for index in range(len(batch["weights"]))
            ]
        summed = [torch.stack(values).sum(0) for values in zip(*sums, strict=True) if values[0] is not None]
        flat = self._total(torch.cat([value.flatten() for value in summed]))  # one exchange
        parts = flat.split([value.numel() for value in summed])
        return Sums(*(part.view_as(value) for part, value in zip(parts, summed, strict=True)))

    def _total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values summed over all processes."""
        values = values.clone()
        if self.several:
            torch.distributed.all_reduce(values)
        return values

    def _exchange(self, parameters: list[torch.Tensor], largest: list[torch.Tensor]) -> None:
        """Sum the gradients over all processes, in one exchange; of those that are maxima take the largest."""
        if not self.several:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
        for kept in largest:
            torch.distributed.all_reduce(kept, torch.distributed.ReduceOp.MAX)

    def write_back(self) -> None:
        """Do nothing: the variables are the state."""

    def read_in(self) -> None:
        """Do nothing: the variables are the state."""


def _on_device(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: keras.ops.convert_to_tensor(array) for name, array in batch.items()}


def _total(sums: list[list[torch.Tensor]]) -> Sums:
    return Sums(*(torch.stack(values).sum() for values in zip(*sums, strict=True)))
