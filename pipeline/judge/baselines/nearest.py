"""The opponents of a model that writes: the target of the most similar training text, and one that reads nothing.

A translation memory is what a team has before it trains anything. Similarity is the cosine of tf-idf features of words
and character n-grams, those of the linear models.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from pipeline.judge.baselines.linear import Linear, features
from pipeline.judge.kinds import KINDS, Predictions
from pipeline.judge.predictions import predict, whole_texts
from pipeline.progress import Progress

CELLS_AT_ONCE = 8_000_000  # similarities
TRIED = 1000


def nearest(train: pd.DataFrame, test: pd.DataFrame, progress: Progress) -> Linear:
    """Return the targets of the training texts that are most like the test texts.

    Args:
        train: the training rows, as `read_split` gives them; of equally similar ones the first counts.
        test: the test rows.
        progress: told the rows answered.

    """
    vectoriser = features(len(train))
    known = vectoriser.fit_transform(whole_texts(train)).T.tocsr()  # (features, training rows)
    asked = vectoriser.transform(whole_texts(test))
    best = np.zeros(len(test), np.int64)
    rows = max(1, CELLS_AT_ONCE // len(train))
    for start in range(0, len(test), rows):
        similar = asked[start : start + rows] @ known
        best[start : start + rows] = np.asarray(similar.argmax(axis=1)).ravel()
        progress.update(min(start + rows, len(test)), len(test), stage="most similar training texts")
    answers = pd.DataFrame({"text": train["label"].to_numpy()[best]})
    predictions = predict("generation", test, (), answers)
    return Linear(predictions, "target of the most similar training text by tf-idf", None, known.shape[0])


def plain(train: pd.DataFrame, test: pd.DataFrame) -> tuple[Predictions, str]:
    """Return the text itself as the answer, or the most frequent target: the better by chrF on training rows."""
    frequent = Counter(train["label"]).most_common(1)[0][0]
    ways = {"copying the text": None, f'always answering "{frequent}"': frequent}

    def answered(rows: pd.DataFrame, text: str | None) -> Predictions:
        answers = rows["text"].tolist() if text is None else [text] * len(rows)
        return predict("generation", rows, (), pd.DataFrame({"text": answers}))

    some = train.head(TRIED)
    said = max(ways, key=lambda way: KINDS["generation"].measure(answered(some, ways[way]))["chrf"])
    return answered(test, ways[said]), said
