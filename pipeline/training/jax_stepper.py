"""The optimizer update on JAX: one compiled program, which scans the micro-batches and then applies the optimizer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras

from models.objectives import Sums
from pipeline.training.batches import Batch
from pipeline.training.optimizer import averages
from pipeline.training.steppers import Objective, Update, loss_factor, replaces_variable


class JaxStepper:
    """Keeps weights and optimizer state on the device between updates, each of which reuses the memory of the last.

    The Keras variables share that memory instead of holding a second copy, so reading one after an update without
    `write_back` raises JAX's "Array has been deleted".
    """

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self._update = jax.jit(self._compute_update, donate_argnums=0)
        self._evaluate = jax.jit(self._compute_sums)
        self.state: tuple[Any, ...] = ()
        self.read_in()

    def update(self, batch: Batch) -> Update:
        """Apply one update to the mean loss over the global batch."""
        self.state, update = self._update(self.state, batch)
        return Update(*update)

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        return Sums(*self._evaluate(self.state, batch))

    def write_back(self) -> None:
        """Make the Keras variables show the current state, up to the next update."""
        for variables, values in zip(self._variables(), self.state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def read_in(self) -> None:
        """Take the state from the Keras variables."""
        # Copies, because memory shared with NumPy or between two variables must not be reused.
        self.state = tuple([jnp.array(v.value) for v in variables] for variables in self._variables())
        self.write_back()

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        return self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables

    def _compute_update(self, state: Any, batch: Any) -> tuple[Any, tuple[Any, ...]]:
        trainable, fixed, optimizer = state
        with keras.StatelessScope(state_mapping=list(zip(self.optimizer.variables, optimizer, strict=True))):
            factor, scale = loss_factor(batch, self.optimizer), self.optimizer.scale_loss(1.0)
        gradient_of = jax.value_and_grad(self._scaled_loss, has_aux=True)
        replaced = [replaces_variable(v) for v in self.model.trainable_variables]

        def add(carry: Any, micro_batch: Any) -> tuple[Any, None]:
            fixed, gradients, sums = carry
            (_, (new_sums, fixed)), new = gradient_of(trainable, fixed, micro_batch, factor)
            joined = zip(replaced, gradients, new, strict=True)
            gradients = [jnp.maximum(old, one) if largest else old + one for largest, old, one in joined]
            return (fixed, gradients, jax.tree.map(jnp.add, sums, new_sums)), None

        zeros = [jnp.zeros(value.shape, jnp.float32) for value in trainable]
        (fixed, gradients, sums), _ = jax.lax.scan(add, (fixed, zeros, (jnp.float32(0),) * 3), batch)
        squares = [jnp.sum(jnp.square(g)) for g, largest in zip(gradients, replaced, strict=True) if not largest]
        norm = jnp.sqrt(sum(squares)) / scale
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return (trainable, fixed, optimizer), (*sums, norm)

    def _scaled_loss(self, trainable: Any, fixed: Any, micro_batch: Any, factor: Any) -> tuple[Any, tuple[Any, Any]]:
        sums, fixed = self._run(trainable, fixed, micro_batch, training=True)
        return sums[0] * factor, (sums, fixed)

    def _compute_sums(self, state: Any, batch: Any) -> tuple[Any, ...]:
        trainable, fixed, optimizer = state
        value_of = {id(v): value for v, value in zip(self.optimizer.variables, optimizer, strict=True)}
        average_of = {id(weight): value_of[id(average)] for weight, average in averages(self.optimizer)}
        trainable = [
            average_of.get(id(v), value) for v, value in zip(self.model.trainable_variables, trainable, strict=True)
        ]
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
