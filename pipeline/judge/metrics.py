"""The numbers a classifier is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

HEADLINES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1")


def measure(labels: Sequence[str], true: ArrayLike, predicted: ArrayLike) -> dict[str, Any]:
    """Return rows, labels, the headline metrics, the metrics per class and the confusion matrix.

    Macro averages run over the labels that occur in `true`: a label that the model merely predicts costs precision of
    nothing and recall of the rows it took, but is no class to average over; a label absent from both is none either.
    Where a ratio has no rows to divide by (a class never predicted, or absent from `true`), it is 0.

    Args:
        labels: every label in `true` and `predicted`, in the order of the confusion matrix.
        true: (rows,) labels of the test rows.
        predicted: (rows,) answers of the model.

    Returns:
        JSON-able mapping; `confusion_matrix[i][j]` counts rows of label i answered with label j.

    """
    true, predicted = np.asarray(true, dtype=object), np.asarray(predicted, dtype=object)
    present = [label for label in labels if label in set(true)]
    precision, recall, f1, support = precision_recall_fscore_support(
        true, predicted, labels=list(labels), zero_division=0
    )
    macro = precision_recall_fscore_support(true, predicted, labels=present, average="macro", zero_division=0)
    return {
        "rows": len(true),
        "labels": list(labels),
        "accuracy": float(accuracy_score(true, predicted)),
        "macro_precision": float(macro[0]),
        "macro_recall": float(macro[1]),
        "macro_f1": float(macro[2]),
        "weighted_f1": float(f1_score(true, predicted, labels=present, average="weighted", zero_division=0)),
        "per_class": {
            label: {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "support": int(support[index]),
            }
            for index, label in enumerate(labels)
        },
        "confusion_matrix": confusion_matrix(true, predicted, labels=list(labels)).tolist(),
    }


def headlines(
    hits: NDArray[np.float64], support: NDArray[np.float64], answers: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return the headline metrics of a stack of test sets, by the same rules as `measure`.

    Args:
        hits: (..., labels) rows of a label that are answered with it.
        support: (..., labels) rows of a label.
        answers: (..., labels) rows answered with a label.

    Returns:
        metric name -> (...) float64.

    """
    rows = support.sum(axis=-1)  # (...)
    present = support > 0
    classes = present.sum(axis=-1)  # (...)
    precision, recall, f1 = ratio(hits, answers), ratio(hits, support), ratio(2 * hits, support + answers)
    return {
        "accuracy": ratio(hits.sum(axis=-1), rows),
        "macro_precision": ratio((precision * present).sum(axis=-1), classes),
        "macro_recall": ratio((recall * present).sum(axis=-1), classes),
        "macro_f1": ratio((f1 * present).sum(axis=-1), classes),
        "weighted_f1": ratio((f1 * support).sum(axis=-1), rows),
    }


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return part / whole, 0 where whole is 0."""
    quotient = np.zeros(np.shape(whole), dtype=np.float64)
    np.divide(part, whole, out=quotient, where=np.asarray(whole) > 0)
    return quotient
