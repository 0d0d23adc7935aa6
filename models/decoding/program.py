"""The compiled program of the backend that writes texts: one for each model and way to write, kept with the model."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from models.decoding.beams import search
from models.decoding.decoding import Decoding, Ids
from models.decoding.reading import begin
from models.decoding.writing import Written, write_on
from models.language_models import LanguageModel
from models.packed import Tensor

Inputs = dict[str, np.ndarray]
Function = Callable[[LanguageModel, dict[str, Tensor]], Written]
Program = Callable[[Inputs], Written]

# By the model, so that they go when it goes.
_PROGRAMS: weakref.WeakKeyDictionary[LanguageModel, dict[Any, Program]] = weakref.WeakKeyDictionary()


def program_of(model: LanguageModel, decoding: Decoding, ids: Ids) -> Program:
    """Return what writes texts, compiled once for every shape of its inputs.

    Args:
        model: CausalLanguageModel or SpanLanguageModel. Built. Its weights are read at every call.
        decoding: Decoding. How.
        ids: Ids. With which ids.

    Returns:
        A function of the inputs of `begin`, and for sampling `draws`, (rows, max_new_tokens) float32 from [0, 1).
    """

    def write(model: LanguageModel, inputs: dict[str, Tensor]) -> Written:
        # The last token is written and not read.
        reading, logits, past = begin(model.backbone, inputs, decoding.max_new_tokens - 1)
        if decoding.num_beams > 1:
            return search(reading, logits, past, decoding, ids)
        return write_on(reading, logits, past, decoding, ids, inputs.get("draws"))

    programs = _PROGRAMS.setdefault(model, {})
    # Adapters that come and go change the variables, and with them the program.
    key = decoding, ids, tuple(id(variable) for variable in model.variables)
    if key not in programs:
        programs[key] = compiled(model, write)
    return programs[key]


def compiled(model: LanguageModel, function: Function) -> Program:
    """Return the compiled function of a dictionary of arrays; it does not keep the model alive."""
    found = weakref.ref(model)

    def call(inputs: dict[str, Tensor]) -> Written:
        model = found()
        assert model is not None
        return function(model, inputs)

    def variables() -> list[keras.Variable]:
        model = found()
        assert model is not None
        return list(model.variables)

    match keras.backend.backend():
        case "jax":
            return _on_jax(call, variables)
        case "tensorflow":
            return _on_tensorflow(call)
        case "torch":
            return _on_torch(call)
        case other:
            raise ValueError(f"Keras runs on {other!r}; generation needs jax, tensorflow or torch")


def _on_jax(call: Callable[..., Written], variables: Callable[[], list[keras.Variable]]) -> Program:
    import jax

    @jax.jit
    def run(values: list[Any], inputs: dict[str, Tensor]) -> Written:
        with keras.StatelessScope(state_mapping=list(zip(variables(), values, strict=True))):
            return call(inputs)

    return lambda inputs: run([variable.value for variable in variables()], inputs)


def _on_tensorflow(call: Callable[..., Written]) -> Program:
    import tensorflow as tf

    run = tf.function(call, jit_compile=True, autograph=False)
    return lambda inputs: run({name: tf.constant(array) for name, array in inputs.items()})


def _on_torch(call: Callable[..., Written]) -> Program:
    import torch

    def run(inputs: Inputs) -> Written:
        with torch.no_grad():
            return call({name: keras.ops.convert_to_tensor(array) for name, array in inputs.items()})

    return run
