"""How well a kind's probabilities rank the rows of each label above the others, on many resamples at once.

Areas under curves are no sums over rows, so they are computed anew on each resample, from how often each row is drawn:
rows are put into the places between and on the scores of a label's own rows, and the draws of a place add up to all
that both curves need. The rules are those of scikit-learn's `roc_auc_score` (ties count half) and
`average_precision_score`; a label counts where some drawn rows carry it and some do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipeline.judge.kinds.kind import Predictions
from pipeline.judge.kinds.multi_label import membership
from pipeline.measures.averages import Floats, ratio

# Products of a row, a label and a resample: seconds. More resamples than that allows are not ranked.
MOST_PRODUCTS = 500_000_000
LEAST_RESAMPLES = 100
AT_ONCE = 4_000_000

# Kinds that are ranked -> the labels of each row, as a list.
RANKED: dict[str, Callable[[Predictions], Sequence[Sequence[str]]]] = {
    "classification": lambda predictions: [[label] for label in predictions.rows["label"]],
    "multi_label": lambda predictions: list(predictions.rows["label"]),
}


class Ranking:
    """The truth and the probabilities of the labels that the test rows carry, of one model.

    Args:
        predictions: of a kind in RANKED.

    Attributes:
        truth: (rows, labels) bool.
        scores: (rows, labels) float.

    """

    def __init__(self, predictions: Predictions) -> None:
        truth = membership(RANKED[predictions.kind](predictions), predictions.labels)
        present = truth.any(axis=0)
        self.truth, self.scores = truth[:, present], predictions.probabilities[:, present]

    def resamples(self, wanted: int) -> int:
        """Return how many of the resamples wanted can be ranked in a few seconds, at least LEAST_RESAMPLES."""
        return min(wanted, max(LEAST_RESAMPLES, MOST_PRODUCTS // max(self.truth.size, 1)))

    def areas(self, drawn: Floats) -> dict[str, Floats]:
        """Return roc_auc and pr_auc, (draws,) each, the mean over labels; NaN where no label can be ranked.

        Args:
            drawn: (rows, draws) how often each row is drawn.

        """
        step = max(1, AT_ONCE // len(drawn))
        parts = [self._areas(np.ascontiguousarray(drawn[:, at : at + step])) for at in range(0, drawn.shape[1], step)]
        roc, precision = np.concatenate(parts, axis=1) if parts else np.empty((2, 0))
        return {"roc_auc": roc, "pr_auc": precision}

    def _areas(self, drawn: Floats) -> Floats:
        sums, ranked = np.zeros((2, drawn.shape[1])), np.zeros(drawn.shape[1])
        for label in range(self.truth.shape[1]):
            found, defined = label_areas(self.truth[:, label], self.scores[:, label], drawn)
            sums += found
            ranked += defined
        return np.where(ranked > 0, ratio(sums, ranked), np.nan)


def label_areas(
    truth: NDArray[np.bool_], scores: NDArray[np.floating], drawn: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return (2, draws) the ROC-AUC and the average precision of one label, 0 where undefined, and (draws,) where not.

    Args:
        truth: (rows,) whether a row carries the label.
        scores: (rows,) how probable the model holds it.
        drawn: (rows, draws) how often each row is drawn.

    """
    own = np.flatnonzero(truth)
    levels = np.unique(scores[own])
    # 2 l + 1 on level l, 2 l just below it
    places = np.searchsorted(levels, scores, "left") + np.searchsorted(levels, scores, "right")
    every = _sums(places, np.arange(len(scores)), 2 * len(levels) + 1, drawn)  # (places, draws)
    hits = _sums(places[own] // 2, own, len(levels), drawn)  # (levels, draws)
    ties = every[1::2] - hits
    from_level = _from_top(every)[1::2]
    hits_from_level = _from_top(hits)
    positives = hits.sum(axis=0)  # (draws,)
    negatives = every.sum(axis=0) - positives
    below = negatives - (from_level - hits_from_level)
    roc = ratio((hits * (below + ties / 2)).sum(axis=0), positives * negatives)
    precision = ratio((hits * ratio(hits_from_level, from_level)).sum(axis=0), positives)
    defined = (positives > 0) & (negatives > 0)
    return np.stack([roc, precision]) * defined, defined


def _sums(places: NDArray[np.int64], rows: NDArray[np.int64], number: int, drawn: Floats) -> Floats:
    """Return (number, draws) how often the rows at each place are drawn."""
    order = np.argsort(places, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=number))])
    gather = csr_matrix((np.ones(len(rows)), rows[order], ends), shape=(number, len(drawn)))
    found: Floats = gather @ drawn
    return found


def _from_top(sums: Floats) -> Floats:
    """Return the sums of each place and all above it."""
    return np.cumsum(sums[::-1], axis=0)[::-1]
