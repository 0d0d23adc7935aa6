"""How far one set of rows lies from another, both given as references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.data.quality.drift.reference import BUCKETS, Reference

FOLDS = 5


def label_shift(before: Mapping[str, int], now: Mapping[str, int]) -> float:
    """Return the total variation distance of the label shares: half the sum of their differences."""
    then, total = sum(before.values()), sum(now.values())
    labels = sorted({*before, *now})
    return sum(abs(now.get(label, 0) / total - before.get(label, 0) / then) for label in labels) / 2


def number_shift(before: Sequence[Sequence[float]], now: Sequence[Sequence[float]]) -> float:
    """Return the Kolmogorov-Smirnov distance of two histograms of [number, rows]: the widest gap of the shares."""
    places = np.union1d([value for value, _ in before], [value for value, _ in now])
    return float(np.abs(cumulative(before, places) - cumulative(now, places)).max())


def cumulative(histogram: Sequence[Sequence[float]], places: np.ndarray) -> np.ndarray:
    """Return the share of rows up to each place, (places,)."""
    values, rows = np.array(histogram, np.float64).T
    shares = np.concatenate([[0.0], np.cumsum(rows) / rows.sum()])
    found: np.ndarray = shares[np.searchsorted(values, places, side="right")]
    return found


def unknown_words(before: Reference, now: Reference) -> float:
    """Return the share of the words now that are not among those known before."""
    known = now.times[np.isin(now.known, before.known)].sum()
    return 1 - float(known) / now.words if now.words else 0.0


def separability(before: Reference, now: Reference) -> float:
    """Return the area under the ROC curve of a classifier that tells the sampled texts now from those before.

    A logistic regression on words and pairs of words, cross-validated; 0.5 when they cannot be told apart. A text that
    is in both samples is in one fold with itself, else the classifier would learn that it was in the other sample.
    Source: Lopez-Paz and Oquab 2017, Revisiting Classifier Two-Sample Tests (arXiv 1610.06545).
    """
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.preprocessing import normalize

    texts = normalize(vstack([_matrix(before), _matrix(now)]).tocsr())  # (texts, buckets)
    is_new = np.repeat([0, 1], [len(before.ends), len(now.ends)])
    rows = _rows(before) + _rows(now)
    places = {row: place for place, row in enumerate(rows)}
    model = LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear")
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(
        model, texts, is_new, groups=[places[row] for row in rows], cv=folds, method="decision_function"
    )
    return float(roc_auc_score(is_new, scores))


def distinct_samples(reference: Reference) -> int:
    """Return how many of the sampled texts differ in their features."""
    return len(set(_rows(reference)))


def _rows(reference: Reference) -> list[bytes]:
    """Return the features of each sampled text."""
    ends = reference.ends
    return [row.tobytes() for row in np.split(reference.buckets, ends[:-1])] if len(ends) else []


def _matrix(reference: Reference) -> Any:
    """Return the sampled texts as a sparse matrix, (texts, BUCKETS)."""
    from scipy.sparse import csr_matrix

    starts = np.concatenate([[0], reference.ends])
    ones = np.ones(len(reference.buckets), np.float64)
    return csr_matrix((ones, reference.buckets.astype(np.int32), starts), shape=(len(reference.ends), BUCKETS))
