"""From which probability on a text is given a label, where it may have several."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from pipeline.measures.averages import Floats, ratio

HALF = 0.5
# With an uninformative model the best threshold of a rare label is one that gives it to every row (Lipton, 2014, arXiv
# 1402.1892); with a row or two that carry it, any model is uninformative.
LEAST_ROWS = 5


def choose_thresholds(truth: NDArray[np.bool_], probabilities: NDArray[np.floating[Any]]) -> Floats:
    """Return (labels,) the threshold of each label with the best F1; 0.5 for a label that fewer than LEAST_ROWS carry.

    A threshold lies midway between the two neighbouring probabilities; of equally good ones, the nearest to 0.5 is
    taken.

    Args:
        truth: (rows, labels) whether the row carries the label.
        probabilities: (rows, labels) of the validation rows: never of the test rows, which would flatter the model.

    Raises:
        ValueError: the shapes differ.

    """
    if np.shape(truth) != np.shape(probabilities):
        raise ValueError(
            f"received truth of shape {np.shape(truth)} and probabilities of shape {np.shape(probabilities)}; expected "
            "the same (rows, labels): give both the columns of the model's labels"
        )
    return np.array([_threshold(truth[:, label], probabilities[:, label]) for label in range(truth.shape[1])])


def _threshold(truth: NDArray[np.bool_], probabilities: NDArray[np.floating[Any]]) -> float:
    if truth.sum() < LEAST_ROWS:
        return HALF
    precision, recall, levels = precision_recall_curve(truth, np.asarray(probabilities, np.float64))
    f1 = ratio(2 * precision * recall, precision + recall)[: len(levels)]
    below = np.concatenate([[0.0], levels[:-1]])
    midway = (below + levels) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    if any(below[i] < HALF <= levels[i] for i in best):
        return HALF
    return float(midway[best[np.abs(midway[best] - HALF).argmin()]])
