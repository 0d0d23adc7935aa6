"""Values and gradients on whichever backend is loaded, compiled on JAX, which is slow operation by operation."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def value_of(function: Callable[[], Any]) -> np.ndarray:
    """Return what `function` returns."""
    if keras.backend.backend() == "jax":
        import jax

        def stateless():
            with keras.StatelessScope():  # a dropout's next seed stays inside
                return function()

        return np.asarray(jax.jit(stateless)())
    return keras.ops.convert_to_numpy(function())


def value_and_gradients(loss: Callable[[], Any], model: keras.Model) -> list[np.ndarray]:
    """Return the loss, then its gradient by every trainable variable."""
    variables = model.trainable_variables
    match keras.backend.backend():
        case "jax":
            import jax

            def of(values):
                with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                    return loss()

            value, gradients = jax.jit(jax.value_and_grad(of))([v.value for v in variables])
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                value = loss()
            found = tape.gradient(value, [v.value for v in variables], unconnected_gradients="zero")
            gradients = [tf.convert_to_tensor(gradient) for gradient in found]
        case _:
            model.zero_grad()
            value = loss()
            value.backward()
            gradients = [
                keras.ops.zeros_like(v.value) if v.value.grad is None else v.value.grad.clone() for v in variables
            ]
    return [keras.ops.convert_to_numpy(part) for part in (value, *gradients)]
