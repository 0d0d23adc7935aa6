"""Chooses the Keras backend and the precision, before Keras is imported."""

from __future__ import annotations

import importlib.util
import os
import sys

from pipeline.errors import BackendError

BACKENDS = ("jax", "tensorflow", "torch")


def select_backend(name: str) -> str:
    """Make Keras use a backend in this process, and return its name.

    Args:
        name: str. jax, tensorflow or torch; `auto` takes the backend already loaded, else the first one installed.

    Raises:
        BackendError: the backend is not installed, or Keras already runs on another one.
    """
    loaded, installed = loaded_backend(), installed_backends()
    if name == "auto":
        if not installed:
            raise BackendError(f"runtime.backend is auto, but none of {', '.join(BACKENDS)} is installed; install one")
        name = loaded or installed[0]
    if name not in installed:
        extra = "pip install 'tradewind[torch]'" if name == "torch" else f"pip install {name}"
        raise BackendError(
            f"runtime.backend is {name!r}, which is not installed; install it ({extra}), or set runtime.backend to "
            f"one of: auto, {', '.join(installed)}"
        )
    if loaded not in (None, name):
        raise BackendError(
            f"runtime.backend is {name!r}, but Keras already runs on {loaded!r} in this process; start a new process"
        )
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return name


def loaded_backend() -> str | None:
    """Return the backend that Keras runs on in this process; None before Keras is imported."""
    return str(sys.modules["keras"].backend.backend()) if "keras" in sys.modules else None


def installed_backends() -> list[str]:
    """Return the backends that can be imported here, the preferred one first."""
    return [backend for backend in BACKENDS if importlib.util.find_spec(backend)]


def select_precision(name: str) -> str:
    """Return the Keras dtype policy for this machine; Keras must run on its backend already.

    Args:
        name: str. A policy, or `auto`: mixed_bfloat16 on an accelerator, float32 on a CPU, where the JAX kernels for
            bfloat16 are slower than those for float32.

    Raises:
        BackendError: the backend cannot compute in this precision on this device.
    """
    import keras

    accelerated = has_accelerator()
    if name == "auto":
        return "mixed_bfloat16" if accelerated else "float32"
    if name == "mixed_float16" and keras.backend.backend() == "jax" and not accelerated:
        raise BackendError(
            "runtime.precision is 'mixed_float16', which JAX cannot compute on a CPU (its attention needs a float16 "
            "product with float32 sums); use mixed_bfloat16 or float32, or runtime.backend tensorflow"
        )
    return name


def has_accelerator() -> bool:
    """Return whether the loaded backend sees a GPU or TPU."""
    import keras

    match keras.backend.backend():
        case "jax":
            import jax

            return bool(jax.default_backend() != "cpu")
        case "tensorflow":
            import tensorflow as tf

            return bool(tf.config.list_physical_devices("GPU"))
        case _:
            import torch

            return bool(torch.cuda.is_available())
