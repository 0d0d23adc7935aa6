"""A stretch of the text a question: judged by the words it shares with the acceptable answers, as SQuAD does.

Rajpurkar 2016, arXiv 1606.05250, and 2018, arXiv 1806.03822; the numbers are those of the latter's evaluation script.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipeline.data.spans import SPANS
from pipeline.extract import best_answer
from pipeline.judge.kinds.kind import Answers, Predictions, defined, require_finite
from pipeline.measures.averages import Floats, ratio

COLUMNS = {
    "label": SPANS,
    "predicted": pa.string(),
    "start": pa.int32(),
    "end": pa.int32(),
    "confidence": pa.float32(),
    "candidates": pa.list_(pa.list_(pa.float32())),
}
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def predict(
    rows: pd.DataFrame,
    known: tuple[str, ...],  # noqa: ARG001  of kinds with labels
    answers: Answers,
    tuned: dict[str, float] | None = None,  # noqa: ARG001  chosen by other kinds
) -> Predictions:
    """Return the most probable answer of each row, "" for none; `answers` is as `text_answers` gives them."""
    answers = np.asarray(answers, np.float32)
    require_finite(answers, len(rows), "test rows")
    best = [best_answer(str(text), own) for text, own in zip(rows["text"], answers, strict=True)]
    given = rows.assign(**{name: [row[place] for row in best] for place, name in enumerate(CHOSEN)})
    return Predictions("question_answering", given, (), answers, ())


CHOSEN = ("predicted", "start", "end", "confidence")


def measure(predictions: Predictions) -> dict[str, Any]:
    """Return rows and metrics; those of answerable or unanswerable questions are null where there are none."""
    sums = np.asarray(statistics(predictions, ()).sum(axis=0)).reshape(1, -1)
    answerable, rows = int(sums[0, 3]), len(predictions.rows)
    reasons = dict.fromkeys(("answerable_exact_match", "answerable_token_f1"), "no test row has an answer in its text")
    return {
        "rows": rows,
        "labels": [],
        **defined(
            {name: float(value[0]) for name, value in scores(sums, ()).items()},
            reasons | {"unanswerable_accuracy": "every test row has an answer in its text"},
        ),
        "answerable": answerable,
        "answered": int((predictions.rows["predicted"] != "").sum()),
    }


def statistics(predictions: Predictions, labels: Sequence[str]) -> csr_matrix:  # noqa: ARG001  of kinds with labels
    """Return (rows, 7): 1, exact match, F1; the same three where the question is answerable; right where it is not."""
    exact, f1 = overlaps(predictions)
    answerable = np.array([len(label) > 0 for label in predictions.rows["label"]], np.float64)
    columns = [
        np.ones(len(exact)),
        exact,
        f1,
        answerable,
        exact * answerable,
        f1 * answerable,
        exact * (1 - answerable),
    ]
    return csr_matrix(np.stack(columns, axis=1))


def scores(sums: Floats, labels: Sequence[str]) -> dict[str, Floats]:  # noqa: ARG001  of kinds with labels
    """Return the headline metrics of (draws, statistics) sums; NaN where there is no such question."""
    rows, answerable = sums[:, 0], sums[:, 3]
    unanswerable = rows - answerable
    return {
        "exact_match": ratio(sums[:, 1], rows),
        "token_f1": ratio(sums[:, 2], rows),
        "answerable_exact_match": np.where(answerable > 0, ratio(sums[:, 4], answerable), np.nan),
        "answerable_token_f1": np.where(answerable > 0, ratio(sums[:, 5], answerable), np.nan),
        "unanswerable_accuracy": np.where(unanswerable > 0, ratio(sums[:, 6], unanswerable), np.nan),
    }


def overlaps(predictions: Predictions) -> tuple[Floats, Floats]:
    """Return exact match and F1 of each row, (rows,) each, with the acceptable answer that fits best."""
    pairs = zip(predictions.rows["label"], predictions.rows["predicted"], strict=True)
    found = [compare(answer, [span["text"] for span in label]) for label, answer in pairs]
    return np.array([exact for exact, _ in found], np.float64), np.array([f1 for _, f1 in found], np.float64)


def compare(answer: str, acceptable: Sequence[str]) -> tuple[float, float]:
    """Return exact match and token F1 of an answer, "" for none, with the acceptable answers, none of them for none."""
    wanted = [words for text in acceptable if (words := normalised(text))] or [[]]
    given = normalised(answer)
    return max(float(words == given) for words in wanted), max(_f1(given, words) for words in wanted)


def normalised(text: str) -> list[str]:
    """Return the words of an answer in lower case, without punctuation and articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def _f1(given: list[str], wanted: list[str]) -> float:
    shared = (Counter(given) & Counter(wanted)).total()
    return 2 * shared / (len(given) + len(wanted)) if given and wanted else float(given == wanted)


def right(predictions: Predictions) -> NDArray[np.bool_]:
    """Return (rows,) whether the answer matches an acceptable one exactly."""
    return overlaps(predictions)[0] > 0


def mistakes(predictions: Predictions) -> pd.Series[float]:
    """Return the confidence of each answer that matches no acceptable one exactly, by position."""
    return predictions.rows["confidence"][~right(predictions)]


def suspects(predictions: Predictions) -> list[tuple[int, str, float]]:  # noqa: ARG001
    """Return nothing: confident learning is about classes."""
    return []
