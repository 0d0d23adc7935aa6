"""Any number of labels a text, none included: each label is a yes or no of its own, at a threshold of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from pipeline.judge.calibration import BINS, bin_of, reliability
from pipeline.judge.kinds.classification import LEAST
from pipeline.judge.kinds.kind import Answers, Predictions, by_class, defined, require_finite
from pipeline.measures.averages import Floats, averages, ratio
from pipeline.measures.thresholds import HALF, choose_thresholds

COLUMNS = {
    "label": pa.list_(pa.string()),
    "predicted": pa.list_(pa.string()),
    "confidence": pa.float32(),
    "probabilities": pa.list_(pa.float32()),
}


def tune(truth: Sequence[Iterable[str]], known: tuple[str, ...], answers: Answers) -> dict[str, float]:
    """Return label -> threshold, from the validation rows."""
    thresholds = choose_thresholds(membership(truth, known), answers)
    return {label: float(threshold) for label, threshold in zip(known, thresholds, strict=True)}


def membership(rows: Iterable[Iterable[str]], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return (rows, labels) whether a row carries a label; labels that are not listed are left out."""
    number = {label: index for index, label in enumerate(labels)}
    listed = [list(row) for row in rows]
    matrix = np.zeros((len(listed), len(labels)), dtype=bool)
    for place, row in enumerate(listed):
        matrix[place, [number[label] for label in row if label in number]] = True
    return matrix


def predict(
    rows: pd.DataFrame, known: tuple[str, ...], answers: Answers, tuned: dict[str, float] | None = None
) -> Predictions:
    """Return the labels of each row whose probability reaches their threshold; `answers` is (rows, known labels).

    `confidence` is how sure the model is of its least sure yes or no, taken at 0.5.
    """
    require_finite(answers, len(rows), "test rows")
    tuned = tuned or dict.fromkeys(known, HALF)
    labels = tuple(sorted(set(known).union(*rows["label"])))
    spread = np.zeros((len(rows), len(labels)), dtype=np.float32)  # (rows, labels)
    spread[:, [labels.index(label) for label in known]] = answers
    yes = answers >= np.array([tuned[label] for label in known])
    predicted = [[label for label, given in zip(known, row, strict=True) if given] for row in yes]
    sure = np.maximum(answers, 1 - answers).min(axis=1) if len(known) else np.ones(len(rows))
    given = rows.assign(predicted=pd.Series(predicted, dtype=object), confidence=sure)
    return Predictions("multi_label", given, labels, spread, tuple(known), tuned)


def measure(predictions: Predictions) -> dict[str, Any]:
    """Return rows, labels, thresholds, metrics and the metrics per class.

    Macro averages run over the labels that occur in the truth; a ratio without anything to divide by is 0. Areas under
    curves are the mean over the labels that some test rows carry and some do not. The log loss is the mean over all
    labels of all rows; the calibration error holds the probabilities of all labels against how often they are carried.
    """
    labels = predictions.labels
    true, predicted = (membership(predictions.rows[name], labels) for name in ("label", "predicted"))
    probabilities = predictions.probabilities.astype(np.float64)
    values = {"subset_accuracy": accuracy_score(true, predicted)}
    present = np.flatnonzero(true.any(axis=0))
    for average, columns in (("micro", slice(None)), ("macro", present), ("weighted", present)):
        found = (0.0, 0.0, 0.0)
        if len(present):
            parts = true[:, columns], predicted[:, columns]
            found = precision_recall_fscore_support(*parts, average=average, zero_division=0)[:3]
        values |= {f"{average}_{name}": found[i] for i, name in enumerate(("precision", "recall", "f1"))}
    mixed = [label for label in present if not true[:, label].all()]
    for name, area in (("roc_auc", roc_auc_score), ("pr_auc", average_precision_score)):
        areas = [area(true[:, label], probabilities[:, label]) for label in mixed]
        values[name] = float(np.mean(areas)) if areas else np.nan
    values["log_loss"] = float(_losses(true, probabilities).mean())
    values["calibration_error"] = reliability(probabilities.ravel(), true.ravel())["error"]
    unmixed = "no label is carried by some test rows and not by others"
    precision, recall, f1, support = precision_recall_fscore_support(true, predicted, average=None, zero_division=0)
    return {
        "rows": len(true),
        "labels": list(labels),
        "thresholds": predictions.tuned,
        **defined(values, {"roc_auc": unmixed, "pr_auc": unmixed}),
        "per_class": by_class(labels, precision, recall, f1, support),
    }


def _losses(true: NDArray[np.bool_], probabilities: Floats) -> Floats:
    """Return (rows, labels) the cross-entropy of each yes or no."""
    losses: Floats = -np.log(np.clip(np.where(true, probabilities, 1 - probabilities), LEAST, None))
    return losses


def statistics(predictions: Predictions, labels: Sequence[str]) -> csr_matrix:
    """Return (rows, 3 labels + 3 + 3 bins).

    Truth, answers and hits per label; whole rows that are right, rows, loss; of all yes and no of a row, by bin of
    probability, how many there are, their probabilities, and the labels carried.
    """
    true, predicted = (membership(predictions.rows[name], labels) for name in ("label", "predicted"))
    exact = (true == predicted).all(axis=1, keepdims=True)
    own, probabilities = membership(predictions.rows["label"], predictions.labels), predictions.probabilities
    chances = probabilities.astype(np.float64)
    loss = _losses(own, chances).mean(axis=1, keepdims=True)
    rows, width = own.shape
    place = (np.repeat(np.arange(rows), width), bin_of(chances).ravel())
    bins = [
        csr_matrix((weights.ravel().astype(np.float64), place), shape=(rows, BINS))
        for weights in (np.ones_like(chances), chances, own)
    ]
    whole = np.hstack([true, predicted, true & predicted, exact, np.ones_like(exact), loss]).astype(np.float64)
    return hstack([csr_matrix(whole), *bins], format="csr")


def scores(sums: Floats, labels: Sequence[str]) -> dict[str, Floats]:
    """Return the headline metrics that are sums, of (draws, statistics), by the same rules as `measure`."""
    width = len(labels)
    support, answers, hits = (sums[:, part * width : (part + 1) * width] for part in range(3))
    every = [part.sum(axis=-1) for part in (support, answers, hits)]
    exact, rows, loss = sums[:, 3 * width : 3 * width + 3].T
    pairs, sure, carried = np.split(sums[:, 3 * width + 3 :], 3, axis=1)
    return {
        "subset_accuracy": ratio(exact, rows),
        "micro_precision": ratio(every[2], every[1]),
        "micro_recall": ratio(every[2], every[0]),
        "micro_f1": ratio(2 * every[2], every[0] + every[1]),
        **averages(hits, support, answers),
        "log_loss": ratio(loss, rows),
        "calibration_error": ratio(np.abs(carried - sure).sum(axis=-1), pairs.sum(axis=-1)),
    }


def right(predictions: Predictions) -> NDArray[np.bool_]:
    """Return (rows,) whether the set of labels is right."""
    rows = predictions.rows
    pairs = zip(rows["label"], rows["predicted"], strict=True)
    return np.array([set(true) == set(predicted) for true, predicted in pairs], dtype=bool)


def mistakes(predictions: Predictions) -> pd.Series[float]:
    """Return how sure the model was of its worst wrong yes or no, by position."""
    true = membership(predictions.rows["label"], predictions.labels)
    against = np.where(true, 1 - predictions.probabilities, predictions.probabilities).max(axis=1)  # (rows,)
    return pd.Series(against)[~right(predictions)]


def suspects(predictions: Predictions) -> list[tuple[int, str, float]]:
    """Return rows with a likely wrong label by confident learning, each label against the rest."""
    from cleanlab.multilabel_classification.filter import find_label_issues

    known = [predictions.labels.index(label) for label in predictions.known]
    # A label that every known row carries, or none, has no other side to learn from.
    true = membership(predictions.rows["label"], predictions.known)
    usable = np.flatnonzero(true.any(axis=0) & ~true.all(axis=0))
    if not len(usable):
        return []
    probabilities = predictions.probabilities[:, known][:, usable].astype(np.float64)
    carried = [np.flatnonzero(row).tolist() for row in true[:, usable]]
    found = find_label_issues(carried, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    fits = np.where(true[:, usable], probabilities, 1 - probabilities).min(axis=1)  # (rows,)
    answers = predictions.rows["predicted"]
    return [(int(row), ", ".join(answers.iloc[row]) or "no label", float(fits[row])) for row in found]
