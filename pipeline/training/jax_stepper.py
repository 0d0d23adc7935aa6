"""The optimizer update on JAX: one compiled program, which scans the micro-batches and then applies the optimizer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras

from models.objectives import Sums
from pipeline.training.batches import Batch
from pipeline.training.steppers import Objective


class JaxStepper:
    """Keeps weights and optimizer state on the device between updates."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self._update = jax.jit(self._compute_update, donate_argnums=0)
        self._evaluate = jax.jit(self._compute_sums)
        self.state = self._current()

    def update(self, batch: Batch) -> Sums:
        """Apply one update and return the sums over the global batch."""
        self.state, sums = self._update(self.state, batch)
        return Sums(*sums)

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        return Sums(*self._evaluate(self.state, batch))

    def write_back(self) -> None:
        """Make the Keras variables show the current state."""
        for variables, values in zip(self._variables(), self.state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(jnp.array(value))  # a copy, because the next update donates the original

    def read_in(self) -> None:
        """Take the state from the Keras variables."""
        self.state = self._current()

    def _current(self) -> tuple[list[Any], ...]:
        return tuple([jnp.array(v.value) for v in variables] for variables in self._variables())

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        return self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables

    def _compute_update(self, state: Any, batch: Any) -> tuple[Any, tuple[Any, ...]]:
        trainable, fixed, optimizer = state
        scale = self._loss_scale(optimizer)
        gradient_of = jax.value_and_grad(self._scaled_loss, has_aux=True)

        def add(carry: Any, micro_batch: Any) -> tuple[Any, None]:
            fixed, gradients, sums = carry
            (_, (new_sums, fixed)), new = gradient_of(trainable, fixed, micro_batch, scale)
            gradients = jax.tree.map(jnp.add, gradients, new)
            return (fixed, gradients, jax.tree.map(jnp.add, sums, new_sums)), None

        zeros = [jnp.zeros_like(value) for value in trainable]
        start = (fixed, zeros, (jnp.float32(0), jnp.float32(0), jnp.float32(0)))
        (fixed, gradients, sums), _ = jax.lax.scan(add, start, batch)
        weight = jnp.maximum(sums[1], 1.0)
        gradients = [gradient / weight.astype(gradient.dtype) for gradient in gradients]
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return (trainable, fixed, optimizer), sums

    def _scaled_loss(self, trainable: Any, fixed: Any, micro_batch: Any, scale: Any) -> tuple[Any, tuple[Any, Any]]:
        sums, fixed = self._run(trainable, fixed, micro_batch, training=True)
        return sums[0] * scale, (sums, fixed)

    def _compute_sums(self, state: Any, batch: Any) -> tuple[Any, ...]:
        trainable, fixed, _ = state
        sums = jax.lax.map(lambda micro: self._run(trainable, fixed, micro, training=False)[0], batch)
        totals: tuple[Any, ...] = jax.tree.map(jnp.sum, sums)
        return totals

    def _run(self, trainable: Any, fixed: Any, batch: Any, training: bool) -> tuple[tuple[Any, ...], Any]:
        """Return the objective's sums and the new values of the non-trainable variables (the dropout seeds)."""
        variables = [*self.model.trainable_variables, *self.model.non_trainable_variables]
        mapping = list(zip(variables, [*trainable, *fixed], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            sums = self.objective(self.model, batch, training)
        changed = [scope.get_current_value(v) for v in self.model.non_trainable_variables]
        return tuple(sums), [new if new is not None else old for new, old in zip(changed, fixed, strict=True)]

    def _loss_scale(self, optimizer: Any) -> Any:
        mapping = list(zip(self.optimizer.variables, optimizer, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return self.optimizer.scale_loss(jnp.float32(1.0))
