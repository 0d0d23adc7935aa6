"""The `.onnx` file, on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime


def open_model(file: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Return what answers `token_ids` and `segment_ids`. Raises onnxruntime's error: the file is damaged."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def answer(inputs: dict[str, np.ndarray]) -> np.ndarray:
        outputs: np.ndarray = session.run(["outputs"], inputs)[0]
        return outputs

    return answer
