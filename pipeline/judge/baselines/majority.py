"""What is answered without reading the text: the most frequent answer of the training rows.

Of tagging it is the most frequent tag of each word, which is a strong baseline at no cost; of question_answering the
usual place in the text, or that there is no answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pandas as pd

from pipeline.judge.baselines.usual_place import usual_place
from pipeline.judge.kinds import Predictions
from pipeline.judge.predictions import predict

SAID = {
    "classification": 'always answering "{}"',
    "multi_label": "always answering {}",
    "regression": "always answering the mean ({})",
    "tagging": "giving each word its most frequent tag",
}


def majority(kind: str, train: pd.DataFrame, test: pd.DataFrame, known: tuple[str, ...]) -> tuple[Predictions, str]:
    """Return the majority answers to the test rows, and what they are in words.

    Args:
        kind: name of the kind of task.
        train: the training rows, as `read_split` gives them.
        test: the test rows.
        known: the labels of the training rows; none for regression.

    """
    if kind == "question_answering":
        return usual_place(train, test)
    if kind == "tagging":
        return predict(kind, test, known, _tags(train, test, known)), SAID[kind]
    if kind == "regression":
        mean = float(train["label"].mean())
        return predict(kind, test, (), np.full(len(test), mean)), SAID[kind].format(f"{mean:.4g}")
    rows, number = len(test), {label: index for index, label in enumerate(known)}
    answers: Any = np.zeros((rows, len(known)), np.float32)
    if kind == "classification":
        counts = Counter(train["label"])
        answers[:] = [counts[label] / len(train) for label in known]
        return predict(kind, test, known, answers), SAID[kind].format(known[int(answers[0].argmax())])
    frequent = Counter(tuple(sorted(set(row))) for row in train["label"]).most_common(1)[0][0]
    answers[:, [number[label] for label in frequent]] = 1.0
    named = " and ".join(f'"{label}"' for label in frequent) or "no label"
    return predict(kind, test, known, answers), SAID[kind].format(named)


def _tags(train: pd.DataFrame, test: pd.DataFrame, known: tuple[str, ...]) -> list[Any]:
    """Return the share of each tag among a word's training uses; of a new word, among all words that came once."""
    number = {label: index for index, label in enumerate(known)}
    uses: dict[str, Any] = defaultdict(lambda: np.zeros(len(known)))
    for words, tags in zip(train["words"], train["label"], strict=True):
        for word, tag in zip(words, tags, strict=True):
            uses[word][number[tag]] += 1
    once = [counts for counts in uses.values() if counts.sum() == 1] or list(uses.values())
    new = np.sum(once, axis=0)
    rows = []
    for words in test["words"]:
        counts = np.array([uses.get(word, new) for word in words]).reshape(len(words), len(known))
        rows.append((counts / counts.sum(axis=1, keepdims=True)).astype(np.float32))
    return rows
