"""Traces of updates, by the profiler of the backend: files that TensorBoard and Perfetto open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras


class TraceProfiler:
    """Records one trace, on the backend that Keras runs on.

    JAX and TensorFlow write `plugins/profile/*/*.xplane.pb` for TensorBoard's profile plugin, JAX also
    `*.trace.json.gz` for ui.perfetto.dev; torch writes `torch.trace.json` for the latter.

    Args:
        folder: Path. Where the trace goes; it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stop: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        match keras.backend.backend():
            case "jax":
                import jax

                jax.profiler.start_trace(str(self.folder))
                self._stop = jax.profiler.stop_trace
            case "tensorflow":
                import tensorflow as tf

                tf.profiler.experimental.start(str(self.folder))
                self._stop = tf.profiler.experimental.stop
            case _:
                self._stop = _start_torch(self.folder / "torch.trace.json")

    def stop(self) -> None:
        """End, and write the trace; nothing happens when none was begun."""
        if self._stop:
            self._stop()
            self._stop = None


def _start_torch(file: Path) -> Callable[[], None]:
    import torch

    profiler = torch.profiler.profile()
    profiler.start()

    def stop() -> None:
        profiler.stop()
        profiler.export_chrome_trace(str(file))

    return stop
