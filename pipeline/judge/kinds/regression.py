"""A number a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.sparse import csr_matrix
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from pipeline.judge.kinds.kind import Answers, Predictions, defined, require_finite
from pipeline.measures.averages import Floats, ratio

COLUMNS = {"label": pa.float64(), "predicted": pa.float64(), "confidence": pa.float32()}
# Below this share of the mean square, a variance is what float sums leave of none.
NOTHING = 1e-12


def predict(
    rows: pd.DataFrame,
    known: tuple[str, ...],  # noqa: ARG001  of kinds with labels
    answers: Answers,
    tuned: dict[str, float] | None = None,  # noqa: ARG001  chosen by other kinds
) -> Predictions:
    """Return the numbers as they are; `answers` is (rows,), finite."""
    require_finite(answers, len(rows), "test rows")
    given = rows.assign(predicted=np.asarray(answers, np.float64), confidence=np.nan)
    return Predictions("regression", given, (), np.asarray(answers, np.float32), ())


def measure(predictions: Predictions) -> dict[str, Any]:
    """Return rows and metrics.

    Without spread in the truth there is no share of it to explain (R², correlations), and without spread in the answers
    no correlation: these are null then.
    """
    true, predicted = _pair(predictions)
    spread, answered = np.ptp(true) > 0, np.ptp(predicted) > 0
    mse = float(mean_squared_error(true, predicted))
    values = {
        "rmse": float(np.sqrt(mse)),
        "mse": mse,
        "mae": mean_absolute_error(true, predicted),
        "r2": r2_score(true, predicted) if spread else np.nan,
        "pearson": pearsonr(true, predicted).statistic if spread and answered else np.nan,
        "spearman": spearmanr(true, predicted).statistic if spread and answered else np.nan,
    }
    same = "every test row has the same truth" if not spread else "the model gives every test row the same answer"
    return {
        "rows": len(true),
        "labels": [],
        **defined(values, dict.fromkeys(("r2", "pearson", "spearman"), same)),
        "truth": _summary(true),
        "answers": _summary(predicted),
        "residuals": _summary(predicted - true),
    }


def _pair(predictions: Predictions) -> tuple[Floats, Floats]:
    rows = predictions.rows
    return rows["label"].to_numpy(np.float64), rows["predicted"].to_numpy(np.float64)


def _summary(values: Floats) -> dict[str, float]:
    quartiles = dict(zip(("q25", "median", "q75"), np.percentile(values, [25, 50, 75]), strict=True))
    found = {"mean": values.mean(), "deviation": values.std(), "min": values.min(), "max": values.max(), **quartiles}
    return {name: float(value) for name, value in found.items()}


def statistics(predictions: Predictions, labels: Sequence[str]) -> csr_matrix:  # noqa: ARG001  of kinds with labels
    """Return (rows, 13): 1; |error|, error²; and of values, then of ranks: x, y, x², y², xy.

    Values are counted from the mean truth, so that large ones keep their digits. Ranks are those within all the rows:
    a resample of them gives the Spearman correlation without being ranked anew.
    """
    true, predicted = _pair(predictions)
    centre, middle = true.mean(), (len(true) + 1) / 2
    error = np.abs(predicted - true)
    pairs = [(true - centre, predicted - centre), (rankdata(true) - middle, rankdata(predicted) - middle)]
    columns = [np.ones(len(true)), error, error**2]
    for x, y in pairs:
        columns += [x, y, x * x, y * y, x * y]
    return csr_matrix(np.stack(columns, axis=1))


def scores(sums: Floats, labels: Sequence[str]) -> dict[str, Floats]:  # noqa: ARG001  of kinds with labels
    """Return the headline metrics of (draws, statistics) sums; NaN where there is no spread."""
    rows = sums[:, 0]
    mse = ratio(sums[:, 2], rows)
    x, _, xx = (ratio(sums[:, column], rows) for column in (3, 4, 5))
    variance = _spread(xx, x)
    return {
        "rmse": np.sqrt(mse),
        "mse": mse,
        "mae": ratio(sums[:, 1], rows),
        "r2": 1 - mse / variance,
        "pearson": _correlation(sums[:, 3:8], rows),
        "spearman": _correlation(sums[:, 8:13], rows),
    }


def _spread(square: Floats, mean: Floats) -> Floats:
    """Return the variance, NaN where there is none."""
    variance = square - mean**2
    return np.where(variance > NOTHING * np.maximum(square, 1e-300), variance, np.nan)


def _correlation(sums: Floats, rows: Floats) -> Floats:
    x, y, xx, yy, xy = ratio(sums, rows[:, None]).T
    correlation: Floats = (xy - x * y) / np.sqrt(_spread(xx, x) * _spread(yy, y))
    return correlation


def right(predictions: Predictions) -> None:  # noqa: ARG001
    """Return None: a number is near or far, not right."""
    return


def mistakes(predictions: Predictions) -> pd.Series[float]:
    """Return the distance of each answer from the truth, by position."""
    rows = predictions.rows
    distance: pd.Series[float] = (rows["predicted"] - rows["label"]).abs()
    return distance[distance > 0]


def suspects(predictions: Predictions) -> list[tuple[int, str, float]]:  # noqa: ARG001
    """Return nothing: confident learning is about labels, and the rows farthest off are told as mistakes."""
    return []
