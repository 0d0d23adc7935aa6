"""What judging needs to know of a kind of task; each kind is one module of this folder with these functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipeline.measures.averages import Floats

Answers = Any  # what `Kind` says of its kind: an array of floats, or of tagging a list of them


@dataclass(frozen=True)
class Predictions:
    """One model's answers to the test rows.

    Args:
        kind: name of the kind of task.
        rows: one line per test row with `row_id`, `text`, `text_pair`, `group` (null where there is none), `label` (the
            truth), `predicted`, `confidence` (null for regression and generation), of tagging `words`, and what else
            the kind's module names.
        labels: every label that the model knows or the test rows carry, sorted; none for kinds without classes.
        answers: classification and multi_label (rows, labels) float32 probabilities, regression (rows,) float32,
            tagging a list of (words, labels) float32; 0 for labels that the model does not know; question_answering
            (rows, answers, 3) float32, begin, end and probability, see `pipeline.extract.text_answers`; generation
            (rows,) float32, the nats that a token of the reference costs.
        known: the labels that the model was trained on.
        tuned: what was chosen on the validation rows; of multi_label, label -> threshold.

    """

    kind: str
    rows: pd.DataFrame
    labels: tuple[str, ...]
    answers: Answers
    known: tuple[str, ...]
    tuned: dict[str, float] = field(default_factory=dict)

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The (rows, labels) answers of a kind that has one probability per row and label."""
        if self.kind not in ("classification", "multi_label"):
            raise TypeError(f"{self.kind} has no (rows, labels) probabilities; its answers are in `answers`")
        return np.asarray(self.answers, np.float32)

    @property
    def unseen(self) -> dict[str, int]:
        """Rows per label that the model cannot answer; they count as wrong."""
        known, counts = set(self.known), dict[str, int]()
        for label in self.rows["label"] if self.labels else ():
            for one in sorted({label} if isinstance(label, str) else set(label)):
                if one not in known:
                    counts[one] = counts.get(one, 0) + 1
        return dict(sorted(counts.items()))

    def take(self, order: NDArray[np.integer[Any]]) -> Predictions:
        """Return the rows at the positions `order`, in that order."""
        rows = self.rows.iloc[order].reset_index(drop=True)
        answers = [self.answers[i] for i in order] if isinstance(self.answers, list) else self.answers[order]
        return Predictions(self.kind, rows, self.labels, answers, self.known, self.tuned)


class Kind(Protocol):
    """The functions of a kind's module."""

    @property
    def COLUMNS(self) -> Mapping[str, Any]:  # noqa: N802  a constant of the module
        """Arrow types of label, predicted, confidence and, where there are some, probabilities or candidates."""

    def predict(
        self, rows: pd.DataFrame, known: tuple[str, ...], answers: Answers, tuned: dict[str, float]
    ) -> Predictions:
        """Return the predictions that a model's answers to the test rows amount to."""

    def measure(self, predictions: Predictions) -> dict[str, Any]:
        """Return every number of the kind, JSON-able; one that is undefined is null, and `undefined` says why."""

    def statistics(self, predictions: Predictions, labels: Sequence[str]) -> csr_matrix:
        """Return (rows, statistics) float64 whose sums over any rows give `scores` of those rows."""

    def scores(self, sums: Floats, labels: Sequence[str]) -> dict[str, Floats]:
        """Return the headline metrics but areas under curves, (draws,), of (draws, statistics) sums; NaN: undefined."""

    def right(self, predictions: Predictions) -> NDArray[np.bool_] | None:
        """Return (rows,) whether the whole answer is right; None where that is no question."""

    def mistakes(self, predictions: Predictions) -> pd.Series[float]:
        """Return how bad each wrong answer is, by position of the row; rows that are right are absent."""

    def suspects(self, predictions: Predictions) -> list[tuple[int, str, float]]:
        """Return (position, what the label may rather be, how well it fits now) of likely label errors, worst first."""


def defined(values: Mapping[str, float], reasons: Mapping[str, str]) -> dict[str, Any]:
    """Return the values with null in place of what is not finite, and `undefined`: metric -> why.

    Args:
        values: metric -> value, which may be NaN.
        reasons: metric -> why it would be undefined; a metric that is not named gets a general reason.

    """
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    general = "it cannot be computed from these rows"
    return {
        **{name: None if name in broken else float(value) for name, value in values.items()},
        "undefined": {name: reasons.get(name, general) for name in broken},
    }


def require_finite(answers: NDArray[Any], rows: int, what: str) -> None:
    """Raise TradewindError unless every one of the model's answers is a finite number."""
    from pipeline.errors import TradewindError

    finite = np.isfinite(answers).reshape(len(answers), -1).all(axis=1)
    if not finite.all():
        raise TradewindError(
            f"the model answers {int((~finite).sum())} of {rows} {what} with NaN or infinite numbers; expected finite "
            "ones: its training diverged, lower the learning rate or use runtime.precision=float32"
        )


def by_class(
    names: Sequence[str], precision: Floats, recall: Floats, f1: Floats, support: Floats
) -> dict[str, dict[str, float]]:
    """Return the figures of each class, (classes,) each, by its name."""
    return {
        name: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
        }
        for index, name in enumerate(names)
    }
