"""How far a model's confidence can be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15


def bin_of(confidence: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the bin of equal width, 0 to BINS - 1, of each confidence."""
    return np.clip(np.ceil(np.asarray(confidence, np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)


def reliability(confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the expected calibration error and its bins.

    scikit-learn has no such number; it is Guo et al. (2017): the mean distance of confidence and accuracy over bins of
    confidence, weighted by their rows.

    Args:
        confidence: (rows,) probability of the given answer.
        right: (rows,) whether the answer is right.

    Returns:
        `error`, NaN without rows, and `bins`: of those with rows, {confidence, accuracy, rows}.

    """
    bins = bin_of(confidence)
    rows = np.bincount(bins, minlength=BINS)
    sure = np.bincount(bins, weights=confidence, minlength=BINS)
    hits = np.bincount(bins, weights=np.asarray(right, np.float64), minlength=BINS)
    filled = [
        {"confidence": float(sure[i] / rows[i]), "accuracy": float(hits[i] / rows[i]), "rows": int(rows[i])}
        for i in np.flatnonzero(rows)
    ]
    return {"error": float(np.abs(hits - sure).sum() / rows.sum()) if rows.sum() else np.nan, "bins": filled}
