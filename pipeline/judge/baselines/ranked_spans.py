"""The cheap reader: stretches of the sentences most like the question, ranked by a logistic regression.

After the baseline of Rajpurkar 2016, arXiv 1606.05250, section 5, in the small: without a parser, every stretch of
words up to the usual length is a candidate, and the features are those of `span_features.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from pipeline.judge.baselines.linear import Linear
from pipeline.judge.baselines.span_features import Candidates, SpanFeatures
from pipeline.judge.kinds import KINDS, Predictions
from pipeline.judge.kinds.question_answering import overlaps
from pipeline.judge.names import MAIN
from pipeline.judge.predictions import predict
from pipeline.progress import Progress

KIND = "question_answering"
GRID = (0.1, 1.0, 10.0)
TRAINING_ROWS = 5_000
VALIDATION_ROWS = 2_000
NEGATIVES = 20  # of the candidates of a row that are no answer, drawn by chance
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """The best candidate of each row: begin and end in characters, and score, (rows,) each."""

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: Floats


def ranked_spans(
    train: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame, seed: int, progress: Progress
) -> Linear:
    """Return the ranking model: fitted on train rows, its strength chosen on validation rows, asked the test rows.

    Where some training question has no answer, so has a row whose best candidate scores below what is best on the
    validation rows.

    Args:
        train: the training rows, as `read_split` gives them; TRAINING_ROWS of them are used.
        validation: the validation rows; VALIDATION_ROWS of them are used.
        test: the test rows.
        seed: of what is drawn.
        progress: told the stage and the score of each strength of regularisation.

    """
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(seed)
    stages = len(GRID) + 2
    some, held = _drawn(train, TRAINING_ROWS, random), _drawn(validation, VALIDATION_ROWS, random)
    progress.update(0, stages, stage="features")
    features = SpanFeatures.of(train)
    table, truth = _examples(features, some, random)
    nullable = any(not label for label in train["label"])
    progress.update(1, stages, features=float(table.shape[1]))
    chosen: tuple[float, float, Floats] | None = None
    most = -np.inf
    for stage, strength in enumerate(GRID, start=2):
        weights = np.zeros(table.shape[1])
        if 0 < truth.sum() < len(truth):
            weights = LogisticRegression(C=strength, max_iter=200, random_state=seed).fit(table, truth).coef_[0]
        best = _best(features, held, weights)
        threshold = _threshold(held, best) if nullable else -np.inf
        score = KINDS[KIND].measure(_predicted(held, best, threshold))[MAIN[KIND]]
        progress.update(stage, stages, strength=strength, **{f"validation_{MAIN[KIND]}": score})
        if score > most:
            chosen, most = (strength, threshold, weights), score
    assert chosen is not None
    strength, threshold, weights = chosen
    predictions = _predicted(test, _best(features, test, weights), threshold)
    progress.update(stages, stages)
    return Linear(predictions, "candidate spans + logistic regression", strength, table.shape[1])


def _drawn(rows: pd.DataFrame, most: int, random: np.random.Generator) -> pd.DataFrame:
    if len(rows) <= most:
        return rows
    return rows.iloc[np.sort(random.choice(len(rows), most, replace=False))].reset_index(drop=True)


def _examples(features: SpanFeatures, rows: pd.DataFrame, random: np.random.Generator) -> tuple[Any, Any]:
    """Return features and truth of candidates: those that are an answer, and some that are not, of answerable rows."""
    tables, truths = [csr_matrix((0, features.width), dtype=np.float32)], [np.empty(0, bool)]
    for label, candidates in zip(rows["label"], _candidates(features, rows), strict=True):
        spans = {(span["start"], span["start"] + len(span["text"])) for span in label}
        right = np.array([span in spans for span in candidates.spans], bool)
        if right.any():
            wrong = np.flatnonzero(~right)
            kept = np.concatenate([np.flatnonzero(right), random.permutation(wrong)[:NEGATIVES]])
            tables.append(candidates.table[kept])
            truths.append(right[kept])
    return vstack(tables, "csr"), np.concatenate(truths)


def _candidates(features: SpanFeatures, rows: pd.DataFrame) -> Iterator[Candidates]:
    questions = [pair if isinstance(pair, str) else "" for pair in rows["text_pair"]]
    return features.candidates(rows["text"].tolist(), questions)


def _best(features: SpanFeatures, rows: pd.DataFrame, weights: Floats) -> Best:
    found = []
    for candidates in _candidates(features, rows):
        if candidates.spans:
            scores = candidates.table @ weights
            place = int(scores.argmax())
            found.append((*candidates.spans[place], float(scores[place])))
        else:
            found.append((-1, -1, -np.inf))
    table = np.array(found, np.float64)  # (rows, 3)
    return Best(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2])


def _threshold(rows: pd.DataFrame, best: Best) -> float:
    """Return the score below which no answer is given, for the greatest F1 on the rows."""
    answered = overlaps(_predicted(rows, best, -np.inf))[1]
    none = np.array([float(not label) for label in rows["label"]])
    order = np.argsort(best.scores, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(none[order])])  # right if so many of the lowest are given none
    above = answered.sum() - np.concatenate([[0.0], np.cumsum(answered[order])])
    cut = int((below + above).argmax())
    ends = np.concatenate([[-np.inf], best.scores[order], [np.inf]])
    low, high = ends[cut], ends[cut + 1]
    return float(low if np.isinf(high) else high if np.isinf(low) else (low + high) / 2)


def _predicted(rows: pd.DataFrame, best: Best, threshold: float) -> Predictions:
    """Return the predictions; how sure an answer is follows from how far its score is from the threshold."""
    level = threshold if np.isfinite(threshold) else 0.0
    sure = 1 / (1 + np.exp(-np.clip(best.scores - level, -30, 30)))
    given = best.scores >= threshold if np.isfinite(threshold) else best.begins >= 0
    answers = np.full((len(rows), 2, 3), -1.0, np.float32)
    answers[:, 0, 2] = np.where(given, 0.0, np.maximum(1 - sure, 0.5))
    answers[:, 1] = np.stack([best.begins, best.ends, np.where(given, sure, 0.0)], axis=1)
    return predict(KIND, rows, (), answers)
