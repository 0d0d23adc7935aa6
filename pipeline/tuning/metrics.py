"""The numbers that a fine-tuning is judged by while it trains, by the same rules as the finished model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.measures.averages import averages, ratio
from pipeline.training.watch.evaluation import Metric

OUTSIDE = "O"


def _macro_f1(counts: np.ndarray) -> float:
    """Return it of `class_counts`, (3, classes): hits, support, answers."""
    return float(averages(*counts)["macro_f1"])


def _micro_f1(counts: np.ndarray) -> float:
    hits, support, answers = counts.sum(axis=-1)
    return float(ratio(2 * hits, support + answers))


def tag_f1(labels: Sequence[str]) -> Metric:
    """Return the F1 of all tags but O, word by word: near that of spans, and made of sums."""
    inside = np.array([label != OUTSIDE for label in labels])
    return Metric("tag_f1", lambda counts: _micro_f1(counts[:, inside]))


def _r2(counts: np.ndarray) -> float:
    """Return it of the `counts` of `segment_values`; where the targets are all the same, the error, negative."""
    error, weight, total, squares = counts
    variation = squares - total**2 / weight
    return float(1 - error / variation) if variation > 0 else -float(error)


def _mean(counts: np.ndarray) -> float:
    total, weight = counts
    return float(ratio(total, weight))


R2 = Metric("r2", _r2)
TOKEN_ACCURACY = Metric("token_accuracy", lambda counts: float(ratio(*counts)))
MACRO_F1 = Metric("macro_f1", _macro_f1)
MICRO_F1 = Metric("micro_f1", _micro_f1)
SPAN_F1 = Metric("span_f1", _mean)  # of the `counts` of `segment_spans`
