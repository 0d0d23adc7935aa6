"""The linear opponent: tf-idf of words and character n-grams, and multinomial logistic regression.

Chosen on ICD-10 chapters (38k training rows, 22 classes), on the validation and test rows of three splits by
three-character code; seconds of one CPU core, next to 7 s for the features; differences to the converged model, which
was fitted on one of the splits:

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import Recipe
from pipeline.errors import SourceError
from pipeline.judge.metrics import HEADLINES, measure
from pipeline.judge.predictions import predict, read_split, whole_texts, write_predictions
from pipeline.progress import Progress

GRID = (3.0, 10.0, 30.0)
ROWS_SEEN = 150_000
PASSES = (5, 100)
SMALL = 1000
MAX_FEATURES = 200_000


@dataclass(frozen=True)
class BaselineResult:
    """How the linear model does on the test rows."""

    task: str
    rows: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_f1: float
    regularisation: float
    features: int
    unseen_rows: int


def baseline(recipe: Recipe, task: str, tokens: Path, out: Path, progress: Progress) -> BaselineResult:
    """Train the linear model on a task's train rows, choose C on its validation rows, judge it on its test rows.

    Args:
        recipe: only `seed` is read.
        task: name of the task.
        tokens: artifact folder of `preprocess`.
        out: receives predictions.parquet and metrics.json.
        progress: told the stage and the score per C.

    Raises:
        SourceError: a split is empty, or the training rows carry fewer than two labels.

    """
    train, validation, test = (read_split(tokens, task, split) for split in ("train", "validation", "test"))
    classes = sorted(train["label"].unique())
    if len(classes) < 2:
        raise SourceError(
            f"task {task!r} has {len(classes)} label in its {len(train)} training rows: {classes}. A classifier needs "
            f"at least two: check tasks.{task}.data (source, label, where), or add rows of another label."
        )
    stages = len(GRID) + 1
    progress.update(0, stages, stage="features")
    vectoriser = features(len(train))
    train_matrix = vectoriser.fit_transform(whole_texts(train))  # (rows, features) sparse float32
    progress.update(1, stages, features=float(train_matrix.shape[1]))
    validation_matrix = vectoriser.transform(whole_texts(validation))
    model, strength = fit(train_matrix, train["label"], validation_matrix, validation["label"], recipe.seed, progress)
    known = tuple(str(label) for label in model.classes_)
    predictions = predict(test, known, model.predict_proba(vectoriser.transform(whole_texts(test))))
    metrics = write_predictions(out, task, "linear baseline", predictions)
    progress.say(
        f"tf-idf + logistic regression (C={strength:g}): accuracy {metrics['accuracy']:.3f}, "
        f"macro-F1 {metrics['macro_f1']:.3f} on {len(test):,} test rows"
    )
    return BaselineResult(
        task=task,
        **{name: metrics[name] for name in ("rows", *HEADLINES, "unseen_rows")},
        regularisation=strength,
        features=int(train_matrix.shape[1]),
    )


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


def fit(
    train: Any, labels: pd.Series[str], validation: Any, answers: pd.Series[str], seed: int, progress: Progress
) -> tuple[Any, float]:
    """Return the logistic regression that does best on the validation rows (macro-F1), and its C.

    `train` and `validation` are (rows, features) sparse float32. The number of passes is fixed by the number of rows,
    so the fits stop before saga calls itself converged: measured above, that costs nothing.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    passes = int(np.clip(ROWS_SEEN // train.shape[0], *PASSES))
    model = LogisticRegression(solver="saga", max_iter=passes, warm_start=True, random_state=seed)
    best, best_score = model, (-1.0, -1.0)
    for stage, strength in enumerate(GRID, start=2):
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, labels)
        score = measure(sorted(set(model.classes_) | set(answers)), answers, model.predict(validation))
        progress.update(stage, len(GRID) + 1, C=strength, validation_macro_f1=score["macro_f1"])
        if (score["macro_f1"], score["accuracy"]) > best_score:
            best, best_score = copy.deepcopy(model), (score["macro_f1"], score["accuracy"])
    return best, float(best.C)
