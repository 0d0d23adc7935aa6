"""The one number that mends most of a classifier's confidence: a temperature (Guo, 2017, arXiv 1706.04599)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

# exp of this range: from 20 times surer to 20 times less sure.
LOGARITHMS = (-3.0, 3.0)


def fit_temperature(logits: ArrayLike, truth: Sequence[int] | NDArray[np.integer[Any]]) -> float:
    """Return the temperature that the logits are best divided by, from the validation rows.

    It changes no answer, because it is positive and the same for all labels; the log loss of these rows is never above
    that of temperature 1.

    Args:
        logits: (rows, labels) logits or log-probabilities.
        truth: (rows,) index of the right label; -1 for rows to leave out (a label that the model does not know).

    Raises:
        ValueError: the logits are not finite, or shapes differ.

    """
    scores, labels = np.asarray(logits, np.float64), np.asarray(truth, np.int64)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not np.isfinite(scores).all():
        raise ValueError(
            f"received logits of shape {scores.shape}, {int((~np.isfinite(scores)).sum())} of them not finite, and "
            f"truth of shape {labels.shape}; expected finite (rows, labels) and (rows,): pass what the model answers "
            "on the validation rows, clipped away from log(0)"
        )
    kept = labels >= 0
    scores, labels = scores[kept], labels[kept]
    if scores.shape[1] < 2 or not len(labels):
        return 1.0

    def loss(logarithm: float) -> float:
        return -float(log_softmax(scores / np.exp(logarithm), axis=1)[np.arange(len(labels)), labels].mean())

    best = minimize_scalar(loss, bounds=LOGARITHMS, method="bounded")
    return float(np.exp(best.x)) if best.fun < loss(0.0) else 1.0


def calibrate(logits: ArrayLike, temperature: float) -> NDArray[np.float32]:
    """Return (rows, labels) probabilities of logits or log-probabilities at a temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    return np.asarray(np.exp(log_softmax(scaled, axis=-1)), np.float32)
