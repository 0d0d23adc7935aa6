"""The optimizer update on JAX: one compiled program, which scans the micro-batches and then applies the optimizer."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import keras
from jax.sharding import PartitionSpec

from models.objectives import Sums
from models.parallel import MeshShape
from pipeline.training.batches import Batch
from pipeline.training.jax_mesh import GATHERED, ROWS, Exchange, place, replicated, spec_of, zeros_like
from pipeline.training.optimizer import averages
from pipeline.training.steppers import Objective, Update, loss_factor, replaces_variable, token_count

WHOLE = PartitionSpec()


class JaxStepper:
    """Keeps weights and optimizer state on the devices between updates, each of which reuses the memory of the last.

    The Keras variables share that memory instead of holding a second copy, so reading one after an update without
    `write_back` raises JAX's "Array has been deleted".

    Args:
        model: keras.Model. Built, on the mesh (`laid_out`) when that has several devices.
        optimizer: keras.optimizers.Optimizer. Built for the model, likewise.
        objective: callable. What is minimised.
        shape: MeshShape. Of the mesh.
        gather: str. When weights that lie in parts along `fsdp` are put together: `update`, once for all micro-batches,
            which exchanges the gradients once but holds both whole; or `micro_batch`, in each, twice.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        shape: MeshShape | None = None,
        gather: Literal["update", "micro_batch"] = "update",
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self.shape = shape or MeshShape()
        self.gather_each = gather == "micro_batch" and self.shape.fsdp > 1
        self.replaced = [replaces_variable(v) for v in model.trainable_variables]
        self._update = jax.jit(self._compute_update, donate_argnums=0)
        self._evaluate = jax.jit(self._compute_sums)
        self.state: tuple[Any, ...] = ([], [], [])
        self.read_in()
        self.exchange = Exchange(self.shape, [spec_of(value) for value in self.state[0]])

    def update(self, batch: Batch) -> Update:
        """Apply one update to the mean loss over the global batch."""
        self.state, update = self._update(self.state, place(self.shape, batch))
        return Update(*update)

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        return Sums(*self._evaluate(self.state, place(self.shape, batch)))

    def compiled(self, batch: Batch) -> Any:
        """Return the compiled program of an update, for a look at its memory and its exchanges."""
        return self._update.lower(self.state, place(self.shape, batch)).compile()

    def write_back(self) -> None:
        """Make the Keras variables show the current state, up to the next update."""
        for variables, values in zip(self._variables(), self.state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def read_in(self) -> None:
        """Take the state from the Keras variables."""
        # Copies, because memory shared with NumPy or between two variables must not be reused.
        self.state = tuple([self._copy(v.value) for v in variables] for variables in self._variables())
        self.write_back()

    def _copy(self, value: Any) -> Any:
        several = len(value.sharding.device_set) > 1
        return jnp.array(value) if several else jax.device_put(jnp.array(value), replicated(self.shape))

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        return self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables

    def _compute_update(self, state: Any, batch: Any) -> tuple[Any, tuple[Any, ...]]:
        trainable, fixed, optimizer = state
        with keras.StatelessScope(state_mapping=list(zip(self.optimizer.variables, optimizer, strict=True))):
            factor, scale = loss_factor(batch, self.optimizer), self.optimizer.scale_loss(1.0)
        parts = self.exchange.manual_specs
        accumulate = self.exchange.on_parts(self._accumulate, (parts, WHOLE, ROWS, WHOLE), (parts, WHOLE, WHOLE))
        gradients, fixed, sums = accumulate(trainable, fixed, batch, factor)
        squares = [jnp.sum(jnp.square(g)) for g, largest in zip(gradients, self.replaced, strict=True) if not largest]
        norm = jnp.sqrt(sum(squares)) / scale
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return (trainable, fixed, optimizer), (*sums, norm, token_count(batch))

    def _accumulate(self, trainable: Any, fixed: Any, batch: Any, factor: Any) -> tuple[Any, Any, Any]:
        """Return the gradients of all micro-batches on all devices, the next dropout seeds, and the sums."""
        shard = self.exchange.shard_number()
        weights = trainable if self.gather_each else self.exchange.gather(trainable)
        gradient_of = jax.value_and_grad(self._differentiated(factor), has_aux=True)

        def add(carry: Any, micro_batch: Any) -> tuple[Any, None]:
            fixed, gradients, sums = carry
            (_, (new_sums, fixed)), new = gradient_of(weights, fixed, micro_batch)
            joined = zip(self.replaced, gradients, new, strict=True)
            gradients = [jnp.maximum(old, one) if largest else old + one for largest, old, one in joined]
            return (fixed, gradients, jax.tree.map(jnp.add, sums, new_sums)), None

        start = (reseeded(fixed, shard), zeros_like(weights), (jnp.float32(0),) * 3)
        (fixed, gradients, sums), _ = jax.lax.scan(add, start, batch)
        if not self.gather_each:
            gradients = self.exchange.scatter(gradients)
        gradients = self.exchange.reduce(gradients, self.replaced)
        return gradients, reseeded(fixed, shard, -1), self.exchange.total(sums)

    def _differentiated(self, factor: Any) -> Any:
        """Return the function whose gradient is summed: the scaled loss of a micro-batch, by weights as they are held.

        Weights that are put together for it are not kept for the way back, but put together again.
        """

        def scaled_loss(weights: Any, fixed: Any, micro_batch: Any) -> tuple[Any, tuple[Any, Any]]:
            whole = self.exchange.gather(weights) if self.gather_each else weights
            sums, fixed = self._run(whole, fixed, micro_batch, training=True)
            return sums[0] * factor, (sums, fixed)

        if not self.gather_each:
            return scaled_loss
        policy = jax.checkpoint_policies.save_anything_except_these_names(GATHERED)
        return jax.checkpoint(scaled_loss, policy=policy)

    def _compute_sums(self, state: Any, batch: Any) -> tuple[Any, ...]:
        trainable, fixed, optimizer = state
        value_of = {id(v): value for v, value in zip(self.optimizer.variables, optimizer, strict=True)}
        average_of = {id(weight): value_of[id(average)] for weight, average in averages(self.optimizer)}
        trainable = [
            average_of.get(id(v), value) for v, value in zip(self.model.trainable_variables, trainable, strict=True)
        ]

        def add(trainable: Any, fixed: Any, batch: Any) -> Any:
            weights = self.exchange.gather(trainable)
            sums = jax.lax.map(lambda micro: self._run(weights, fixed, micro, training=False)[0], batch)
            return self.exchange.total(jax.tree.map(jnp.sum, sums))

        mapped = self.exchange.on_parts(add, (self.exchange.manual_specs, WHOLE, ROWS), WHOLE)
        totals: tuple[Any, ...] = mapped(trainable, fixed, batch)
        return totals

    def _run(self, trainable: Any, fixed: Any, batch: Any, training: bool) -> tuple[tuple[Any, ...], Any]:
        """Return the objective's sums and the new values of the non-trainable variables (the dropout seeds)."""
        variables = [*self.model.trainable_variables, *self.model.non_trainable_variables]
        mapping = list(zip(variables, [*trainable, *fixed], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            sums = self.objective(self.model, batch, training)
        changed = [scope.get_current_value(v) for v in self.model.non_trainable_variables]
        return tuple(sums), [new if new is not None else old for new, old in zip(changed, fixed, strict=True)]


def reseeded(seeds: list[Any], shard: Any, direction: int = 1) -> list[Any]:
    """Return the dropout seeds of one part of the rows, so that no two draw the same mask, or back.

    A seed is (2,) uint32, of which drawing changes the second number only; the part is added to the first. What else is
    not trained, such as a table, stays.
    """
    offset = jnp.uint32(shard) * jnp.uint32(0x9E3779B9) * jnp.uint32(direction % 2**32)
    return [seed.at[0].add(offset) if seed.dtype == jnp.uint32 else seed for seed in seeds]
