"""The optimizer update on TensorFlow: one XLA-compiled function, which loops over the micro-batches."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.objectives import Sums
from pipeline.training.batches import Batch
from pipeline.training.optimizer import averages
from pipeline.training.steppers import Objective, Update, loss_factor, replaces_variable, token_count


class TensorFlowStepper:
    """Updates the Keras variables in place."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self._update = tf.function(self._compute_update, jit_compile=True)
        self._evaluate = tf.function(self._compute_sums, jit_compile=True)

    def update(self, batch: Batch) -> Update:
        """Apply one update to the mean loss over the global batch."""
        return Update(*self._update({name: tf.constant(array) for name, array in batch.items()}))

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        return Sums(*self._evaluate({name: tf.constant(array) for name, array in batch.items()}))

    def write_back(self) -> None:
        """Do nothing: the variables are the state."""

    def read_in(self) -> None:
        """Do nothing: the variables are the state."""

    def _compute_update(self, batch: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        variables = self.model.trainable_variables
        replaced = [replaces_variable(v) for v in variables]
        factor, scale = loss_factor(batch, self.optimizer), self.optimizer.scale_loss(1.0)
        gradients = [tf.zeros(v.shape) for v in variables]
        sums = (tf.constant(0.0),) * 3
        for index in tf.range(tf.shape(batch["weights"])[0]):
            new_sums, new = self._differentiate({name: array[index] for name, array in batch.items()}, factor)
            joined = zip(replaced, gradients, new, strict=True)
            gradients = [tf.maximum(old, one) if largest else old + one for largest, old, one in joined]
            sums = tuple(total + value for total, value in zip(sums, new_sums[:3], strict=True))
        norm = tf.linalg.global_norm([g for g, largest in zip(gradients, replaced, strict=True) if not largest]) / scale
        self.optimizer.apply(gradients, variables)
        return (*sums, norm, token_count(batch))

    def _differentiate(self, micro_batch: dict[str, tf.Tensor], factor: tf.Tensor) -> tuple[Sums, list[tf.Tensor]]:
        variables = [v.value for v in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            sums = self.objective(self.model, micro_batch, True)
            loss = sums.loss * factor
        # Dense, because Adam takes another path for the embedding's IndexedSlices and then differs from JAX.
        return sums, [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]

    def _compute_sums(self, batch: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        with keras.StatelessScope(state_mapping=averages(self.optimizer)):
            sums = tuple(tf.zeros(shape) for shape in self._shapes_of_sums(batch))
            for index in tf.range(tf.shape(batch["weights"])[0]):
                new_sums = self._sums_of({name: array[index] for name, array in batch.items()})
                sums = tuple(total + value for total, value in zip(sums, new_sums, strict=True))
        return sums

    def _shapes_of_sums(self, batch: dict[str, tf.Tensor]) -> list[tf.TensorShape]:
        """Return the shapes of what a micro-batch adds, which a loop must know before its first round."""
        micro_batch = {name: tf.TensorSpec(array.shape[1:], array.dtype) for name, array in batch.items()}
        traced = tf.function(self._sums_of, autograph=False).get_concrete_function(micro_batch)
        return [output.shape for output in traced.structured_outputs]

    def _sums_of(self, micro_batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        sums = self.objective(self.model, micro_batch, False)
        return tuple(value for value in sums if value is not None)
