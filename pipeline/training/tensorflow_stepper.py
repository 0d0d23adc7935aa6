"""The optimizer update on TensorFlow: one XLA-compiled function, which loops over the micro-batches."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.objectives import Sums
from pipeline.training.batches import Batch
from pipeline.training.steppers import Objective


class TensorFlowStepper:
    """Updates the Keras variables in place."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self._update = tf.function(self._compute_update, jit_compile=True)
        self._evaluate = tf.function(self._compute_sums, jit_compile=True)

    def update(self, batch: Batch) -> Sums:
        """Apply one update and return the sums over the global batch."""
        return Sums(*self._update({name: tf.constant(array) for name, array in batch.items()}))

    def evaluate(self, batch: Batch) -> Sums:
        """Return the sums over the global batch without training."""
        return Sums(*self._evaluate({name: tf.constant(array) for name, array in batch.items()}))

    def write_back(self) -> None:
        """Do nothing: the variables are the state."""

    def read_in(self) -> None:
        """Do nothing: the variables are the state."""

    def _compute_update(self, batch: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        variables = [v.value for v in self.model.trainable_variables]
        gradients = [tf.zeros_like(variable) for variable in variables]
        sums = (tf.constant(0.0),) * 3
        for index in tf.range(tf.shape(batch["token_ids"])[0]):
            micro_batch = {name: array[index] for name, array in batch.items()}
            with tf.GradientTape() as tape:
                new_sums = self.objective(self.model, micro_batch, True)
                loss = self.optimizer.scale_loss(new_sums.loss)
            # Dense, because Adam takes another path for the embedding's IndexedSlices and then differs from JAX.
            new = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]
            gradients = [total + gradient for total, gradient in zip(gradients, new, strict=True)]
            sums = tuple(total + value for total, value in zip(sums, new_sums, strict=True))
        weight = tf.maximum(sums[1], 1.0)
        gradients = [gradient / tf.cast(weight, gradient.dtype) for gradient in gradients]
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return sums

    def _compute_sums(self, batch: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        sums = (tf.constant(0.0),) * 3
        for index in tf.range(tf.shape(batch["token_ids"])[0]):
            micro_batch = {name: array[index] for name, array in batch.items()}
            new_sums = self.objective(self.model, micro_batch, False)
            sums = tuple(total + value for total, value in zip(sums, new_sums, strict=True))
        return sums
