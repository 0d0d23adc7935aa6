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
        self.frozen_variables = [v for v in model.non_trainable_variables if is_frozen(v)]
        self.changing_variables = [v for v in model.non_trainable_variables if not is_frozen(v)]
        self.replaced = [replaces_variable(v) for v in model.trainable_variables]
        self._update = jax.jit(self._compute_update, donate_argnums=0)
        self._evaluate = jax.jit(self._compute_sums)
        self.state: tuple[Any, ...] = ([], [], [])
        self.frozen: list[Any] = []
        self.read_in()
        self.exchange = Exchange(self.shape, [spec_of(value) for value in self.state[0]])
        self.frozen_exchange = Exchange(self.shape, [spec_of(value) for value in self.frozen])

    def update(self, batch: Batch) -> Update:
        """Apply one update to the mean loss over the global batch."""
        self.state, update = self._update(self.state, place(self.shape, batch), self.frozen)
        return Update(*update)

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        return Sums(*self._evaluate(self.state, place(self.shape, batch), self.frozen))

    def compiled(self, batch: Batch) -> Any:
        """Return the compiled program of an update, for a look at its memory and its exchanges."""
        return self._update.lower(self.state, place(self.shape, batch), self.frozen).compile()

    def write_back(self) -> None:
        """Make the Keras variables show the current state, up to the next update."""
        for variables, values in zip(self._variables(), self.state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def read_in(self) -> None:
        """Take the state from the Keras variables."""
        # Copies, because memory shared with NumPy or between two variables must not be reused.
        self.state = tuple([self._copy(v.value) for v in variables] for variables in self._variables())
        # No update changes or donates these, so they need no copy of their own.
        self.frozen = [self._placed(v.value) for v in self.frozen_variables]
        for variable, value in zip(self.frozen_variables, self.frozen, strict=True):
            variable.assign(value)
        self.write_back()

    def _copy(self, value: Any) -> Any:
        return self._placed(jnp.array(value))

    def _placed(self, value: Any) -> Any:
        return value if len(value.sharding.device_set) > 1 else jax.device_put(value, replicated(self.shape))

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        return self.model.trainable_variables, self.changing_variables, self.optimizer.variables

    def _compute_update(self, state: Any, batch: Any, frozen: Any = ()) -> tuple[Any, tuple[Any, ...]]:
        trainable, fixed, optimizer = state
        with keras.StatelessScope(state_mapping=list(zip(self.optimizer.variables, optimizer, strict=True))):
            factor, scale = loss_factor(batch, self.optimizer), self.optimizer.scale_loss(1.0)
        parts, still = self.exchange.manual_specs, self.frozen_exchange.manual_specs
        accumulate = self.exchange.on_parts(self._accumulate, (parts, still, WHOLE, ROWS, WHOLE), (parts, WHOLE, WHOLE))
        gradients, fixed, sums = accumulate(trainable, list(frozen), fixed, batch, factor)
        squares = [jnp.sum(jnp.square(g)) for g, largest in zip(gradients, self.replaced, strict=True) if not largest]
        norm = jnp.sqrt(sum(squares)) / scale
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return (trainable, fixed, optimizer), (*sums, norm, token_count(batch))

    def _accumulate(self, trainable: Any, frozen: Any, fixed: Any, batch: Any, factor: Any) -> tuple[Any, Any, Any]:
        """Return the gradients of all micro-batches on all devices, the next dropout seeds, and the sums."""
        shard = self.exchange.shard_number()
        weights, still = (trainable, frozen) if self.gather_each else self._gathered(trainable, frozen)
        gradient_of = jax.value_and_grad(self._differentiated(factor), has_aux=True)

        def add(carry: Any, micro_batch: Any) -> tuple[Any, None]:
            fixed, gradients, sums = carry
            (_, (new_sums, fixed)), new = gradient_of(weights, still, fixed, micro_batch)
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

        def scaled_loss(weights: Any, frozen: Any, fixed: Any, micro_batch: Any) -> tuple[Any, tuple[Any, Any]]:
            whole, still = self._gathered(weights, frozen) if self.gather_each else (weights, frozen)
            sums, fixed = self._run(whole, fixed, micro_batch, True, still)
            return sums[0] * factor, (sums, fixed)

        if not self.gather_each:
            return scaled_loss
        policy = jax.checkpoint_policies.save_anything_except_these_names(GATHERED)
        return jax.checkpoint(scaled_loss, policy=policy)

    def _gathered(self, trainable: Any, frozen: Any) -> tuple[list[Any], list[Any]]:
        return self.exchange.gather(trainable), self.frozen_exchange.gather(frozen)

    def _compute_sums(self, state: Any, batch: Any, frozen: Any = ()) -> tuple[Any, ...]:
        trainable, fixed, optimizer = state
        value_of = {id(v): value for v, value in zip(self.optimizer.variables, optimizer, strict=True)}
        average_of = {id(weight): value_of[id(average)] for weight, average in averages(self.optimizer)}
        trainable = [
            average_of.get(id(v), value) for v, value in zip(self.model.trainable_variables, trainable, strict=True)
        ]

        def add(trainable: Any, frozen: Any, fixed: Any, batch: Any) -> Any:
            weights, still = self._gathered(trainable, frozen)
            sums = jax.lax.map(lambda micro: self._run(weights, fixed, micro, False, still)[0], batch)
            return self.exchange.total([jnp.sum(values, axis=0) for values in sums])

        parts, still = self.exchange.manual_specs, self.frozen_exchange.manual_specs
        mapped = self.exchange.on_parts(add, (parts, still, WHOLE, ROWS), WHOLE)
        totals: tuple[Any, ...] = mapped(trainable, list(frozen), fixed, batch)
        return totals

    def _run(
        self, trainable: Any, fixed: Any, batch: Any, training: bool, frozen: Any = ()
    ) -> tuple[tuple[Any, ...], Any]:
        """Return the objective's sums, those that there are, and the next dropout seeds."""
        variables = [*self.model.trainable_variables, *self.changing_variables, *self.frozen_variables]
        mapping = list(zip(variables, [*trainable, *fixed, *frozen], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            sums = self.objective(self.model, batch, training)
        changed = [scope.get_current_value(v) for v in self.changing_variables]
        told = tuple(value for value in sums if value is not None)
        return told, [new if new is not None else old for new, old in zip(changed, fixed, strict=True)]


def is_frozen(variable: keras.Variable) -> bool:
    """Return whether a variable that is not trained stays as it is; the others are dropout seeds, which change."""
    return bool(keras.backend.standardize_dtype(variable.dtype) != "uint32")


def reseeded(seeds: list[Any], shard: Any, direction: int = 1) -> list[Any]:
    """Return the dropout seeds of one part of the rows, so that no two draw the same mask, or back.

    A seed is (2,) uint32, of which drawing changes the second number only; the part is added to the first.
    """
    offset = jnp.uint32(shard) * jnp.uint32(0x9E3779B9) * jnp.uint32(direction % 2**32)
    return [seed.at[0].add(offset) for seed in seeds]
