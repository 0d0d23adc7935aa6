"""Answered rows of every kind, from arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.judge.kinds import Predictions
from pipeline.judge.predictions import predict

LABELS = ("a", "b", "c")
TAGS = ("B-X", "B-Y", "I-X", "O")
WORDS = ("Sonne", "Mond,", "Sterne.", "und", "die", "am Meer")


def rows_of(label: Sequence[Any], groups: Sequence[str | None] | None = None, **columns: Any) -> pd.DataFrame:
    """Rows with this truth."""
    size = len(label)
    frame = pd.DataFrame(
        {
            "row_id": [f"n:{index}" for index in range(size)],
            "text": [f"text {index}" for index in range(size)],
            "text_pair": [None] * size,
            "group": list(groups or [None] * size),
        }
    )
    listed = bool(size) and isinstance(label[0], list)
    frame["label"] = pd.Series(list(label), dtype=object) if listed else list(label)
    return frame.assign(**columns)


def surely(answers: Sequence[str], labels: Sequence[str], confidence: float = 0.9) -> np.ndarray:
    """Return (rows, labels) probabilities whose greatest is that of the answer."""
    table = np.full((len(answers), len(labels)), (1 - confidence) / max(len(labels) - 1, 1), np.float32)
    table[np.arange(len(answers)), [list(labels).index(answer) for answer in answers]] = confidence
    return table


def classified(
    true: Sequence[str],
    answers: Sequence[str],
    groups: Sequence[str | None] | None = None,
    labels: Sequence[str] | None = None,
) -> Predictions:
    known = tuple(sorted(labels or {*true, *answers}))
    return predict("classification", rows_of(true, groups), known, surely(answers, known))


def labelled(
    true: Sequence[list[str]], probabilities: Any, labels: Sequence[str] = LABELS, **tuned: float
) -> Predictions:
    answers = np.array(probabilities, np.float32)
    return predict("multi_label", rows_of(true), tuple(labels), answers, tuned or dict.fromkeys(labels, 0.5))


def numbered(true: Sequence[float], answers: Sequence[float]) -> Predictions:
    return predict("regression", rows_of([float(value) for value in true]), (), np.array(answers, np.float64))


def tagged(true: Sequence[list[str]], answers: Sequence[list[str]], tags: Sequence[str] = TAGS) -> Predictions:
    words = pd.Series([[f"w{place}" for place in range(len(row))] for row in true], dtype=object)
    table = [surely(row, tags) for row in answers]
    return predict("tagging", rows_of(true, words=words), tuple(tags), table)


def found(true: Sequence[Sequence[str]], answers: Sequence[str], confidence: float = 0.7) -> Predictions:
    """Return questions with these acceptable answers; the text of each is its answers and this one."""
    texts = [" ".join([given, *own]).strip() or "nothing" for own, given in zip(true, answers, strict=True)]
    places = [[text.rindex(one) for one in own] for own, text in zip(true, texts, strict=True)]
    label = [
        [{"text": one, "start": place} for one, place in zip(own, starts, strict=True)]
        for own, starts in zip(true, places, strict=True)
    ]
    table = np.zeros((len(texts), 3, 3), np.float32)
    table[:, :, :2] = -1
    for row, given in zip(table, answers, strict=True):
        row[1 if given else 0] = [0, len(given), confidence] if given else [-1, -1, confidence]
    return predict("question_answering", rows_of(label).assign(text=texts, text_pair="what colour"), (), table)


def written(true: Sequence[str], answers: Sequence[str], **said: Any) -> Predictions:
    return predict("generation", rows_of(list(true)), (), pd.DataFrame({"text": list(answers)} | said))


def random_case(kind: str, rows: int, seed: int) -> Predictions:
    """Return a model of some skill on random rows: equal seeds give equal truth whatever the skill."""
    random = np.random.default_rng(seed)
    if kind == "classification":
        truth = [str(label) for label in random.choice(LABELS, rows, p=[0.6, 0.3, 0.1])]
        return classified(truth, [one if random.random() < 0.7 else str(random.choice(LABELS)) for one in truth])
    if kind == "multi_label":
        truth = random.random((rows, 3)) < [0.5, 0.3, 0.1]
        noise = np.clip(0.45 * truth + 0.55 * random.random((rows, 3)), 0, 1)
        return labelled([[LABELS[i] for i in np.flatnonzero(row)] for row in truth], noise)
    if kind == "regression":
        truth = 1000 + random.normal(size=rows)
        return numbered(list(truth), list(truth + random.normal(size=rows)))
    if kind == "question_answering":
        truth = [
            [str(one) for one in random.choice(["dark red", "a fish", "42"], random.integers(3))] for _ in range(rows)
        ]
        guesses = [str(one) for one in random.choice(["red", "fish", "42", ""], rows)]
        answers = [
            (one or [""])[0] if random.random() < 0.5 else other for one, other in zip(truth, guesses, strict=True)
        ]
        return found(truth, answers)
    if kind == "generation":
        texts = [[str(word) for word in random.choice(WORDS, random.integers(1, 9))] for _ in range(rows)]
        given = [[word if random.random() < 0.9 else str(random.choice(WORDS)) for word in row] for row in texts]
        costs = {"nats": random.random(rows).astype(np.float32), "tokens": np.full(rows, 3, np.float32)}
        said = {"score": -random.random(rows).astype(np.float32), "finished": random.random(rows) < 0.9}
        return written([" ".join(row) for row in texts], [" ".join(row) for row in given], **costs, **said)
    truth = [[str(tag) for tag in random.choice(TAGS, random.integers(1, 9))] for _ in range(rows)]
    answers = [[tag if random.random() < 0.8 else str(random.choice(TAGS)) for tag in row] for row in truth]
    return tagged(truth, answers)
