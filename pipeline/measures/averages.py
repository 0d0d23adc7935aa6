"""Averages of figures that are ratios of counts, class by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def averages(hits: Floats, support: Floats, answers: Floats) -> dict[str, Floats]:
    """Return the macro averages over the labels that occur, and the F1 weighted by support.

    Args:
        hits: (..., labels) rows of a label that are answered with it.
        support: (..., labels) rows of a label.
        answers: (..., labels) rows answered with a label.

    """
    present = support > 0
    classes = present.sum(axis=-1)  # (...)
    precision, recall, f1 = ratio(hits, answers), ratio(hits, support), ratio(2 * hits, support + answers)
    return {
        "macro_precision": ratio((precision * present).sum(axis=-1), classes),
        "macro_recall": ratio((recall * present).sum(axis=-1), classes),
        "macro_f1": ratio((f1 * present).sum(axis=-1), classes),
        "weighted_f1": ratio((f1 * support).sum(axis=-1), support.sum(axis=-1)),
    }


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Return part / whole, 0 where whole is 0."""
    quotient = np.zeros(np.broadcast_shapes(np.shape(part), np.shape(whole)), dtype=np.float64)
    np.divide(part, whole, out=quotient, where=np.asarray(whole) > 0)
    return quotient
