"""One label a text: the numbers a classifier is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from pipeline.judge.calibration import BINS, bin_of, reliability
from pipeline.judge.kinds.kind import Answers, Predictions, by_class, defined, require_finite
from pipeline.measures.averages import Floats, averages, ratio

COLUMNS = {
    "label": pa.string(),
    "predicted": pa.string(),
    "confidence": pa.float32(),
    "probabilities": pa.list_(pa.float32()),
}
# A truth that the model holds impossible costs 16 nats, not infinitely many.
LEAST = float(np.finfo(np.float32).eps)


def predict(
    rows: pd.DataFrame,
    known: tuple[str, ...],
    answers: Answers,
    tuned: dict[str, float] | None = None,  # noqa: ARG001  chosen by other kinds
) -> Predictions:
    """Return the most probable label of each row; `answers` is (rows, known labels), finite."""
    require_finite(answers, len(rows), "test rows")
    labels = tuple(sorted(set(known) | set(rows["label"])))
    spread = np.zeros((len(rows), len(labels)), dtype=np.float32)  # (rows, labels)
    spread[:, [labels.index(label) for label in known]] = answers
    best = answers.argmax(axis=1)
    given = rows.assign(predicted=[known[index] for index in best], confidence=answers.max(axis=1))
    return Predictions("classification", given, labels, spread, tuple(known))


def measure(predictions: Predictions) -> dict[str, Any]:
    """Return rows, labels, metrics, the metrics per class, the confusion matrix and the reliability.

    Macro averages run over the labels that occur in the truth: a label that the model merely predicts costs precision
    of nothing and recall of the rows it took, but is no class to average over; a label absent from both is none either.
    Where a ratio has no rows to divide by (a class never predicted, or absent from the truth), it is 0.
    `confusion_matrix[i][j]` counts rows of label i answered with label j. Areas under curves are the mean over the
    labels that occur, each against the rest.
    """
    labels, probabilities = list(predictions.labels), predictions.probabilities.astype(np.float64)
    true = predictions.rows["label"].to_numpy(object)
    predicted = predictions.rows["predicted"].to_numpy(object)
    present = [label for label in labels if label in set(true)]
    precision, recall, f1, support = precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    macro = precision_recall_fscore_support(true, predicted, labels=present, average="macro", zero_division=0)
    calibration = reliability(predictions.rows["confidence"].to_numpy(np.float64), true == predicted)
    values = {
        "accuracy": accuracy_score(true, predicted),
        "macro_precision": macro[0],
        "macro_recall": macro[1],
        "macro_f1": macro[2],
        "micro_f1": f1_score(true, predicted, labels=labels, average="micro", zero_division=0),
        "weighted_f1": f1_score(true, predicted, labels=present, average="weighted", zero_division=0),
        "log_loss": _log_loss(labels, true, probabilities),
        "calibration_error": calibration["error"],
        **_areas(labels, present, true, probabilities),
    }
    one_class = "every test row carries the same label, so there is nothing to rank it against"
    return {
        "rows": len(true),
        "labels": labels,
        **defined(values, {"roc_auc": one_class, "pr_auc": one_class}),
        "per_class": by_class(labels, precision, recall, f1, support),
        "confusion_matrix": confusion_matrix(true, predicted, labels=labels).tolist() if labels[1:] else [[len(true)]],
        "reliability": calibration["bins"],
    }


def _log_loss(labels: list[str], true: NDArray[Any], probabilities: Floats) -> float:
    if len(labels) < 2:
        return 0.0
    clipped = np.clip(probabilities, LEAST, None)
    return float(log_loss(true, clipped / clipped.sum(axis=1, keepdims=True), labels=labels))


def _areas(labels: list[str], present: list[str], true: NDArray[Any], probabilities: Floats) -> dict[str, float]:
    """Return the macro ROC-AUC and PR-AUC of the labels that occur; NaN when only one does."""
    if len(present) < 2:
        return {"roc_auc": np.nan, "pr_auc": np.nan}
    columns = [(true == label, probabilities[:, labels.index(label)]) for label in present]
    return {
        "roc_auc": float(np.mean([roc_auc_score(*column) for column in columns])),
        "pr_auc": float(np.mean([average_precision_score(*column) for column in columns])),
    }


def statistics(predictions: Predictions, labels: Sequence[str]) -> csr_matrix:
    """Return (rows, 3 labels + 1 + 3 bins): truth, answer, hit; loss; rows, confidence and hits per confidence bin."""
    number = {label: index for index, label in enumerate(labels)}
    rows = np.arange(len(predictions.rows))
    true = np.array([number[label] for label in predictions.rows["label"]], np.int64)
    predicted = np.array([number[label] for label in predictions.rows["predicted"]], np.int64)
    own = {label: index for index, label in enumerate(predictions.labels)}
    probabilities = np.clip(predictions.probabilities.astype(np.float64), LEAST, None)
    chosen = probabilities[rows, [own[label] for label in predictions.rows["label"]]] / probabilities.sum(axis=1)
    confidence = predictions.rows["confidence"].to_numpy(np.float64)
    hit = (true == predicted).astype(np.float64)

    def spread(column: NDArray[Any], width: int, weights: Floats) -> csr_matrix:
        return csr_matrix((weights, (rows, column)), shape=(len(rows), width))

    ones, bins = np.ones(len(rows)), bin_of(confidence)
    blocks = [spread(true, len(labels), ones), spread(predicted, len(labels), ones), spread(true, len(labels), hit)]
    blocks.append(csr_matrix(-np.log(chosen)[:, None]))
    blocks += [spread(bins, BINS, weights) for weights in (ones, confidence, hit)]
    return hstack(blocks, format="csr")


def scores(sums: Floats, labels: Sequence[str]) -> dict[str, Floats]:
    """Return the headline metrics that are sums, of (draws, statistics), by the same rules as `measure`."""
    width = len(labels)
    support, answers, hits = (sums[:, part * width : (part + 1) * width] for part in range(3))
    loss, bins = sums[:, 3 * width], sums[:, 3 * width + 1 :]
    confidence, right = bins[:, BINS : 2 * BINS], bins[:, 2 * BINS :]
    rows = support.sum(axis=-1)
    return {
        "accuracy": ratio(hits.sum(axis=-1), rows),
        "micro_f1": ratio(hits.sum(axis=-1), rows),
        **averages(hits, support, answers),
        "log_loss": ratio(loss, rows),
        "calibration_error": ratio(np.abs(right - confidence).sum(axis=-1), rows),
    }


def right(predictions: Predictions) -> NDArray[np.bool_]:
    """Return (rows,) whether the label is right."""
    return np.asarray(predictions.rows["label"] == predictions.rows["predicted"])


def mistakes(predictions: Predictions) -> pd.Series[float]:
    """Return the confidence of each wrong answer, by position."""
    return predictions.rows["confidence"][~right(predictions)]


def suspects(predictions: Predictions) -> list[tuple[int, str, float]]:
    """Return rows whose label is likely wrong by confident learning, with the label that fits better.

    A row is one when the model holds another label more likely than it does, on average, for rows that carry that
    label (Northcutt et al., 2021). Rows whose label the model does not know say nothing about their label.
    """
    from cleanlab.filter import find_label_issues

    known = [predictions.labels.index(label) for label in predictions.known]
    number = {label: index for index, label in enumerate(predictions.known)}
    places = np.flatnonzero(predictions.rows["label"].isin(predictions.known))
    if len(known) < 2 or not len(places):
        return []
    true = np.array([number[label] for label in predictions.rows["label"].iloc[places]], np.int64)
    probabilities = predictions.probabilities[places][:, known].astype(np.float64)
    probabilities /= np.clip(probabilities.sum(axis=1, keepdims=True), LEAST, None)
    found = find_label_issues(true, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [
        (int(places[row]), predictions.known[int(probabilities[row].argmax())], float(probabilities[row, true[row]]))
        for row in found
    ]
