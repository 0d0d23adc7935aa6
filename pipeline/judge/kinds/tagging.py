"""A tag a word; what counts is whole spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipeline.errors import TradewindError
from pipeline.judge.kinds.kind import Answers, Predictions, by_class, require_finite
from pipeline.measures.averages import Floats, averages, ratio
from pipeline.measures.tag_spans import are_spans, spans_of, types_of

COLUMNS = {
    "words": pa.list_(pa.string()),
    "label": pa.list_(pa.string()),
    "predicted": pa.list_(pa.string()),
    "confidence": pa.float32(),
    "probabilities": pa.list_(pa.list_(pa.float32())),
}


def predict(
    rows: pd.DataFrame,
    known: tuple[str, ...],
    answers: Answers,
    tuned: dict[str, float] | None = None,  # noqa: ARG001  chosen by other kinds
) -> Predictions:
    """Return the most probable tag of each word; `answers` is a list of (words, known labels), finite.

    `confidence` is that of the least sure word of the row.

    Raises:
        TradewindError: a row has another number of words than answers, or an answer is NaN.

    """
    for row_id, words, given in zip(rows["row_id"], rows["label"], answers, strict=True):
        if len(words) != len(given):
            raise TradewindError(
                f"row {row_id!r} has {len(words)} words and the model answers {len(given)} of them; expected one tag "
                "a word: raise preprocess.sequence_length so that the row fits"
            )
    require_finite(np.concatenate(answers), sum(map(len, answers)), "test words")
    labels = tuple(sorted(set(known).union(*rows["label"])))
    columns = [labels.index(label) for label in known]
    spread = [np.zeros((len(given), len(labels)), np.float32) for given in answers]  # (words, labels) each
    for wide, given in zip(spread, answers, strict=True):
        wide[:, columns] = given
    predicted = [[known[index] for index in given.argmax(axis=1)] for given in answers]
    sure = [float(given.max(axis=1).min()) if len(given) else 1.0 for given in answers]
    given = rows.assign(predicted=pd.Series(predicted, dtype=object), confidence=sure)
    return Predictions("tagging", given, labels, spread, tuple(known))


def measure(predictions: Predictions) -> dict[str, Any]:
    """Return rows, words, spans, labels, metrics and the metrics per type of span.

    A span is right when its type and both ends are. Macro averages run over the types that occur in the truth. Where
    tags are plain (parts of speech, say), each word is a span of its tag, and `O` is none.
    """
    labels, types = predictions.labels, types_of(predictions.labels)
    sums = np.asarray(statistics(predictions, labels).sum(axis=0)).reshape(1, -1)
    width = len(types)
    support, answers, hits = (sums[0, part * width : (part + 1) * width] for part in range(3))
    precision, recall, f1 = ratio(hits, answers), ratio(hits, support), ratio(2 * hits, support + answers)
    values = {name: float(value[0]) for name, value in scores(sums, labels).items()}
    return {
        "rows": len(predictions.rows),
        "words": int(sums[0, -1]),
        "spans": int(support.sum()),
        "labels": list(labels),
        **values,
        "undefined": {},
        "per_class": by_class(types, precision, recall, f1, support),
    }


def statistics(predictions: Predictions, labels: Sequence[str]) -> csr_matrix:
    """Return (rows, 3 types + 2): spans of the truth, of the answer, and in both, per type; right words, and words."""
    types, marked = types_of(labels), are_spans(labels)
    number = {name: index for index, name in enumerate(types)}
    rows = predictions.rows
    true, predicted = (spans_of(rows[name], spans=marked) for name in ("label", "predicted"))
    table = np.zeros((len(rows), 3 * len(types) + 2))
    for place, (truth, answer) in enumerate(zip(true, predicted, strict=True)):
        for part, spans in enumerate((truth, answer, truth & answer)):
            for name, _, _ in spans:
                table[place, part * len(types) + number[name]] += 1
    words = [np.array(list(pair[0])) == np.array(list(pair[1])) for pair in _tags(predictions)]
    table[:, -2], table[:, -1] = [word.sum() for word in words], [len(word) for word in words]
    return csr_matrix(table)


def _tags(predictions: Predictions) -> list[tuple[list[str], list[str]]]:
    return list(zip(predictions.rows["label"], predictions.rows["predicted"], strict=True))


def scores(sums: Floats, labels: Sequence[str]) -> dict[str, Floats]:
    """Return the headline metrics of (draws, statistics) sums."""
    width = len(types_of(labels))
    support, answers, hits = (sums[:, part * width : (part + 1) * width] for part in range(3))
    every = [part.sum(axis=-1) for part in (support, answers, hits)]
    found = averages(hits, support, answers)
    return {
        "f1": ratio(2 * every[2], every[0] + every[1]),
        "precision": ratio(every[2], every[1]),
        "recall": ratio(every[2], every[0]),
        **{name: found[name] for name in ("macro_precision", "macro_recall", "macro_f1")},
        "token_accuracy": ratio(sums[:, -2], sums[:, -1]),
    }


def right(predictions: Predictions) -> NDArray[np.bool_]:
    """Return (rows,) whether every word's tag is right."""
    return np.array([list(truth) == list(answer) for truth, answer in _tags(predictions)], dtype=bool)


def mistakes(predictions: Predictions) -> pd.Series[float]:
    """Return how sure the model was of the wrong word that it was surest of, by position."""
    worst = {}
    for place, (truth, answer) in enumerate(_tags(predictions)):
        sure = predictions.answers[place].max(axis=1)
        wrong = [float(sure[word]) for word in range(len(truth)) if truth[word] != answer[word]]
        if wrong:
            worst[place] = max(wrong)
    return pd.Series(worst, dtype=np.float64)


def suspects(predictions: Predictions) -> list[tuple[int, str, float]]:
    """Return rows with a word whose tag is likely wrong by confident learning, and that word with its likelier tag."""
    from cleanlab.token_classification.filter import find_label_issues

    number = {label: index for index, label in enumerate(predictions.known)}
    known = [predictions.labels.index(label) for label in predictions.known]
    tags = [truth for truth, _ in _tags(predictions)]
    places = [place for place, row in enumerate(tags) if len(row) and set(row) <= set(number)]
    if len(known) < 2 or not places:
        return []
    true = [[number[tag] for tag in tags[place]] for place in places]
    probabilities = [predictions.answers[place][:, known].astype(np.float64) for place in places]
    probabilities = [row / np.clip(row.sum(axis=1, keepdims=True), 1e-9, None) for row in probabilities]
    found, told = [], set()
    for row, word in find_label_issues(true, probabilities, n_jobs=1):
        if row not in told:
            told.add(row)
            given = probabilities[row][word]
            shown = predictions.rows["words"].iloc[places[row]][word] if "words" in predictions.rows else f"word {word}"
            likelier = f"{shown}: {predictions.known[int(given.argmax())]}"
            found.append((int(places[row]), likelier, float(given[true[row][word]])))
    return found
