"""The linear opponents: tf-idf of words and character n-grams under a linear model of the task's kind.

classification: multinomial logistic regression; multi_label: a logistic regression per label; regression: ridge;
tagging: multinomial logistic regression of each word in its window, see `words.py`.

Classification was chosen on ICD-10 chapters (38k training rows, 22 classes), on the validation and test rows of three
splits by three-character code; seconds of one CPU core, next to 7 s for the features; differences to the converged
model, which was fitted on one of the splits:

    saga, 5 passes        3.3 s   accuracy within .004, macro-F1 within .007
    saga, 10 passes       6.7 s   accuracy within .002, macro-F1 within .005
    saga, 20 passes      14.6 s   within .002
    lbfgs to the end     27   s   (stopped at tolerance 1e-3: 7.9 s and .02 worse in accuracy)
    liblinear, each class against the rest: 13.2 s, accuracy .006 lower than saga's, macro-F1 level
    SGD with averaging, the same way: 8.4 s, level with saga

Balanced class weights cost .01 to .02 macro-F1; capping the features at 30,000, or n-grams of 2-4 or 3-5 characters,
changed nothing beyond .01. C of 3, 10, 30 and 100 are within .015 of each other here, but need not be elsewhere.

So one saga run walks the grid of C from strong to weak regularisation, each fit starting from the one before, and the
weights that do best on the validation rows are judged on the test rows: 18 to 25 s in all.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.judge.baselines.words import window_features
from pipeline.judge.kinds import KINDS, Predictions
from pipeline.judge.kinds.multi_label import membership, tune
from pipeline.judge.names import TUNED, sign
from pipeline.judge.predictions import predict, whole_texts
from pipeline.progress import Progress

GRID = (3.0, 10.0, 30.0)
PENALTIES = (0.3, 1.0, 3.0)
ROWS_SEEN = 150_000
PASSES = (5, 100)
SMALL = 1000
MAX_FEATURES = 200_000
CHOSEN_BY = {"classification": "macro_f1", "multi_label": "micro_f1", "regression": "rmse", "tagging": "f1"}


@dataclass(frozen=True)
class Linear:
    """A fitted linear model.

    Args:
        predictions: its answers to the test rows.
        said: what it is, in words.
        regularisation: what was chosen on the validation rows; None where nothing is.
        features: how many features it weighs.

    """

    predictions: Predictions
    said: str
    regularisation: float | None
    features: int


def linear(
    kind: str,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    test: pd.DataFrame,
    known: tuple[str, ...],
    seed: int,
    progress: Progress,
) -> Linear:
    """Return the linear model of a kind: fitted on the train rows, chosen on the validation rows, asked the test rows.

    Args:
        kind: name of the kind of task.
        train: the training rows, as `read_split` gives them.
        validation: the validation rows.
        test: the test rows.
        known: the labels of the training rows, sorted; none for regression.
        seed: of the solver.
        progress: told the stage and the score of each strength of regularisation.

    """
    if kind == "tagging":
        vectoriser, truth = window_features(len(train)), _tags(train)
        tables: list[Any] = [rows["words"].tolist() for rows in (train, validation, test)]
    else:
        vectoriser, truth = features(len(train)), _targets(kind, train, known)
        tables = [whole_texts(rows) for rows in (train, validation, test)]
    fit, grid, said = MODELS[kind]
    stages = len(grid) + 1
    progress.update(0, stages, stage="features")
    train_matrix = vectoriser.fit_transform(tables[0])  # (rows or words, features) sparse float32
    matrices = [vectoriser.transform(table) for table in tables[1:]]
    progress.update(1, stages, features=float(train_matrix.shape[1]))
    best, best_score = None, -np.inf
    metric = CHOSEN_BY[kind]
    for stage, (strength, answer) in enumerate(fit(train_matrix, truth, known, grid, seed), start=2):
        given = _shaped(kind, answer(matrices[0]), validation)
        tuned = tune(validation["label"].tolist(), known, given) if kind in TUNED else {}
        score = KINDS[kind].measure(predict(kind, validation, known, given, tuned))[metric]
        progress.update(stage, stages, strength=strength, **{f"validation_{metric}": score})
        if best is None or sign(metric) * score > best_score:
            best, best_score = (strength, answer, tuned), sign(metric) * score
    assert best is not None
    strength, answer, tuned = best
    answers = _shaped(kind, answer(matrices[1]), test)
    predictions = predict(kind, test, known, answers, tuned)
    return Linear(predictions, said, strength, int(train_matrix.shape[1]))


def _targets(kind: str, train: pd.DataFrame, known: tuple[str, ...]) -> Any:
    return membership(train["label"], known) if kind == "multi_label" else train["label"].to_numpy()


def _tags(rows: pd.DataFrame) -> Any:
    return np.concatenate([np.array(list(row), dtype=object) for row in rows["label"]])


def _shaped(kind: str, answers: Any, rows: pd.DataFrame) -> Any:
    """Return the answers per row: of tagging they come word by word."""
    if kind != "tagging":
        return answers
    return np.split(answers, np.cumsum([len(words) for words in rows["words"]])[:-1])


def features(rows: int) -> Any:
    """Return the unfitted tf-idf transformer for `rows` training rows: words and pairs, characters within words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    common = {"sublinear_tf": True, "max_features": MAX_FEATURES, "dtype": np.float32}
    any_visible = r"(?u)\w+|[^\w\s]"
    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=any_visible, **common),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=1 if rows < SMALL else 3, **common),
    )


def fit_classifier(train: Any, labels: Any, known: tuple[str, ...], grid: tuple[float, ...], seed: int) -> Any:
    """Yield (C, answer) per C of `grid`; `answer` gives (rows, known labels) probabilities of a feature matrix.

    The number of passes is fixed by the number of rows, so the fits stop before saga calls itself converged: measured
    above, that costs nothing.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    passes = int(np.clip(ROWS_SEEN // train.shape[0], *PASSES))
    model = LogisticRegression(solver="saga", max_iter=passes, warm_start=True, random_state=seed)
    for strength in grid:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, labels)
        assert tuple(model.classes_) == known
        yield strength, copy.deepcopy(model).predict_proba


def fit_labels(train: Any, truth: Any, known: tuple[str, ...], grid: tuple[float, ...], seed: int) -> Any:  # noqa: ARG001
    """Yield (C, answer) per C of `grid`; `truth` is (rows, labels), and so is the answer.

    A label that every training row carries, or none, has a constant probability.
    """
    from sklearn.linear_model import LogisticRegression

    for strength in grid:
        models = [
            LogisticRegression(solver="liblinear", C=strength, random_state=seed).fit(train, column)
            if 0 < column.sum() < len(column)
            else float(column.all())
            for column in truth.T
        ]

        def answer(matrix: Any, models: list[Any] = models) -> Any:
            columns = [
                np.full(matrix.shape[0], model) if isinstance(model, float) else model.predict_proba(matrix)[:, 1]
                for model in models
            ]
            return np.stack(columns, axis=1).astype(np.float32)

        yield strength, answer


def fit_numbers(train: Any, truth: Any, known: tuple[str, ...], grid: tuple[float, ...], seed: int) -> Any:  # noqa: ARG001
    """Yield (penalty, answer) per penalty of `grid`; `truth` is (rows,), and so is the answer."""
    from sklearn.linear_model import Ridge

    for strength in grid:
        yield strength, Ridge(alpha=strength, random_state=seed).fit(train, truth).predict


MODELS: dict[str, tuple[Callable[..., Any], tuple[float, ...], str]] = {
    "classification": (fit_classifier, GRID, "tf-idf + logistic regression"),
    "multi_label": (fit_labels, GRID, "tf-idf + a logistic regression per label"),
    "regression": (fit_numbers, PENALTIES, "tf-idf + ridge regression"),
    "tagging": (fit_classifier, GRID, "word windows + logistic regression"),
}
