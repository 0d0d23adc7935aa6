"""Confidence intervals by resampling the test rows, for several models on the same rows at once.

A resample only matters through how often each cell (truth, answer of model 1, answer of model 2, ...) is drawn. So we
draw the counts of the distinct cells from one multinomial instead of drawing rows: the same distribution, without
rows x resamples of work. Rows that share a group (say, sibling descriptions under one code) are not independent;
they are drawn together, which gives the wider, honest interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

from pipeline.judge.metrics import headlines

RESAMPLES = 1000
CONFIDENCE = 0.95
CHUNK = 100


@dataclass(frozen=True)
class Resampled:
    """Metrics of several models on the same resamples of the test rows.

    Args:
        values: model -> metric -> value on the test rows themselves.
        draws: model -> metric -> (resamples,) values; entry i of every model comes from the same resample.
        units: how many independent units (groups, or rows without one) were resampled.

    """

    values: dict[str, dict[str, float]]
    draws: dict[str, dict[str, NDArray[np.float64]]]
    units: int

    def interval(self, model: str, metric: str) -> list[float]:
        """Return the percentile interval of a model's metric."""
        return percentiles(self.draws[model][metric])

    def difference(self, model: str, other: str, metric: str) -> tuple[float, list[float]]:
        """Return `model` minus `other` in a metric, and the paired interval of that difference."""
        value = self.values[model][metric] - self.values[other][metric]
        return value, percentiles(self.draws[model][metric] - self.draws[other][metric])


def resample(
    labels: Sequence[str],
    true: Sequence[str],
    answers: Mapping[str, Sequence[str]],
    groups: Sequence[str | None] | None,
    seed: int,
    resamples: int = RESAMPLES,
) -> Resampled:
    """Return the headline metrics of every model on the test rows and on `resamples` resamples of them.

    Args:
        labels: every label in `true` and `answers`.
        true: (rows,) truth.
        answers: model -> (rows,) answers, in the row order of `true`.
        groups: (rows,) group of each row; None, or an entry of None, for rows that stand alone.
        seed: equal seeds give equal intervals.
        resamples: how many times the rows are drawn anew.

    """
    index = {label: position for position, label in enumerate(labels)}
    columns = [[index[label] for label in column] for column in (true, *answers.values())]
    cells, cell_of_row = np.unique(np.array(columns).T, axis=0, return_inverse=True)  # (cells, 1 + models)
    profiles, weights = units_of(cell_of_row.reshape(-1), groups, len(cells))
    units = int(weights.sum())
    random = np.random.default_rng(seed)
    draws = []
    for start in range(0, resamples, CHUNK):
        counts = random.multinomial(units, weights / units, size=min(CHUNK, resamples - start))  # (chunk, unit kinds)
        draws.append(judge_all(counts @ profiles, cells, tuple(answers), len(labels)))
    observed = judge_all((weights @ profiles)[None, :], cells, tuple(answers), len(labels))
    return Resampled(
        values={model: {name: float(value[0]) for name, value in scores.items()} for model, scores in observed.items()},
        draws={
            model: {name: np.concatenate([part[model][name] for part in draws]) for name in scores}
            for model, scores in observed.items()
        },
        units=units,
    )


def units_of(
    cell_of_row: NDArray[np.integer[Any]], groups: Sequence[str | None] | None, cells: int
) -> tuple[csr_matrix, NDArray[np.float64]]:
    """Return what is drawn together: (unit kinds, cells) row counts, and (unit kinds,) how many units are of the kind.

    A unit of one row is of the kind of its cell; a unit of several rows is a kind of its own.
    """
    rows = len(cell_of_row)
    group_of_row = pd.factorize(np.array([None] * rows if groups is None else list(groups), dtype=object))[0]
    members = np.bincount(group_of_row + 1)[group_of_row + 1]  # (rows,)
    alone = (group_of_row < 0) | (members == 1)
    kinds, kind_of_row = np.unique(np.where(alone, cell_of_row, cells + group_of_row), return_inverse=True)
    counts = csr_matrix((np.ones(rows), (kind_of_row, cell_of_row)), shape=(len(kinds), cells))
    weights = np.where(kinds < cells, counts.sum(axis=1).A1, 1.0)
    return diags_array(1 / weights) @ counts, weights


def judge_all(
    counts: NDArray[np.float64], cells: NDArray[np.integer[Any]], models: tuple[str, ...], labels: int
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return model -> metric -> (resamples,) from (resamples, cells) counts."""

    def per_label(column: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum the counts of the cells that share a label in `column`: (resamples, labels)."""
        scatter = csr_matrix((weights, (np.arange(len(cells)), cells[:, column])), shape=(len(cells), labels))
        total: NDArray[np.float64] = counts @ scatter
        return total

    every = np.ones(len(cells))
    support = per_label(0, every)
    return {
        model: headlines(per_label(0, (cells[:, 0] == cells[:, column]) * every), support, per_label(column, every))
        for column, model in enumerate(models, start=1)
    }


def percentiles(draws: NDArray[np.float64]) -> list[float]:
    """Return the central CONFIDENCE interval of `draws`."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return [float(low), float(high)]
