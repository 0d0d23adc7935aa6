"""The SavedModel folder, on TensorFlow without Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf


def open_model(folder: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Return what answers `token_ids` and `segment_ids`. Raises TensorFlow's error: the folder is damaged."""
    loaded = tf.saved_model.load(str(folder))

    def answer(inputs: dict[str, np.ndarray]) -> np.ndarray:
        serve = loaded.signatures["serving_default"]  # of `loaded`, which holds the weights
        outputs: np.ndarray = serve(**{name: tf.constant(rows) for name, rows in inputs.items()})["outputs"].numpy()
        return outputs

    return answer
