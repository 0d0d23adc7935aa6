"""Confidence intervals by resampling the test rows, for several models on the same rows at once.

Headline metrics are functions of sums over rows (`Kind.statistics`), so a resample is a product of how often each row
is drawn and those rows, not a new set of rows; areas under curves are ranked anew on each (`pipeline.judge.ranking`).
Rows that share a group (say, sibling descriptions under one code) are not independent; they are drawn together, which
gives the wider, honest interval.

Intervals are percentiles of the resamples, but for the calibration error: a distance that chance adds to, it is larger
on fewer rows (Kumar, 2019, arXiv 1909.10155), and larger yet on resamples of them, so that percentiles lie above what
they should hold. Its interval is the basic one (Davison and Hinkley, 1997, section 5.2.1), which mirrors the resamples
at the value and so takes that bias back. It may lie below the value, which has the bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import binomtest

from pipeline.judge.kinds import KINDS, Predictions
from pipeline.judge.names import HEADLINES
from pipeline.judge.ranking import RANKED, Ranking
from pipeline.measures.averages import Floats

RESAMPLES = 1000
CONFIDENCE = 0.95
DRAWN_AT_ONCE = 4_000_000
BIASED = ("calibration_error",)  # never below 0, and larger on resamples than on the rows themselves


@dataclass(frozen=True)
class Resampled:
    """Metrics of several models on the same resamples of the test rows.

    Args:
        values: model -> metric -> value on the test rows themselves; NaN where it is undefined.
        draws: model -> metric -> (resamples,) values; entry i of every model comes from the same resample. Of areas
            under curves there are fewer where rows and labels are many.
        units: how many independent units (groups, or rows without one) were resampled.

    """

    values: dict[str, dict[str, float]]
    draws: dict[str, dict[str, NDArray[np.float64]]]
    units: int

    def interval(self, model: str, metric: str) -> list[float] | None:
        """Return the interval of a model's metric; None where it is undefined."""
        found = _around(self.values[model][metric], self.draws[model][metric], metric)
        return [max(end, 0.0) for end in found] if found and metric in BIASED else found

    def difference(self, model: str, other: str, metric: str) -> tuple[float, list[float] | None]:
        """Return `model` minus `other` in a metric, and the paired interval of that difference."""
        value = self.values[model][metric] - self.values[other][metric]
        return value, _around(value, self.draws[model][metric] - self.draws[other][metric], metric)

    def table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return model -> metric -> {value, interval}, null where it is undefined."""
        return {
            model: {
                metric: {"value": value if math.isfinite(value) else None, "interval": self.interval(model, metric)}
                for metric, value in values.items()
            }
            for model, values in self.values.items()
        }


def resample(answers: Mapping[str, Predictions], seed: int, resamples: int = RESAMPLES) -> Resampled:
    """Return the headline metrics of every model on the test rows and on `resamples` resamples of them.

    Args:
        answers: model -> its predictions, all in one row order; the groups are those of the first model.
        seed: equal seeds give equal intervals.
        resamples: how many times the rows are drawn anew.

    """
    first = next(iter(answers.values()))
    kind = KINDS[first.kind]
    labels = sorted({label for predictions in answers.values() for label in predictions.labels})
    unit_of_row = units_of(first.rows["group"].tolist())
    units = int(unit_of_row.max()) + 1
    collect = csr_matrix((np.ones(len(unit_of_row)), (unit_of_row, np.arange(len(unit_of_row)))))  # (units, rows)
    sums = {model: collect @ kind.statistics(one, labels) for model, one in answers.items()}  # (units, statistics)

    rankings = {model: Ranking(one) for model, one in answers.items()} if first.kind in RANKED else {}
    ranked = min((ranking.resamples(resamples) for ranking in rankings.values()), default=0)

    def scores(counts: Floats, start: int) -> dict[str, dict[str, Floats]]:
        """Return model -> metric -> (draws,), of (draws, units) counts that begin at resample `start`."""
        rows = counts[: max(ranked - start, 0), unit_of_row].T  # (rows, draws)
        return {
            model: kind.scores(counts @ table, labels) | (rankings[model].areas(rows) if rankings else {})
            for model, table in sums.items()
        }

    random = np.random.default_rng(seed)
    chunk = max(1, DRAWN_AT_ONCE // units)
    parts = [scores(draw(random, units, min(chunk, resamples - start)), start) for start in range(0, resamples, chunk)]
    whole = scores(np.ones((1, units)), 0)
    return Resampled(
        values={model: {name: float(whole[model][name][0]) for name in HEADLINES[first.kind]} for model in sums},
        draws={
            model: {name: np.concatenate([part[model][name] for part in parts]) for name in HEADLINES[first.kind]}
            for model in sums
        },
        units=units,
    )


def units_of(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Return (rows,) which unit each row is drawn with, in order of appearance; None is a unit of its own."""
    named = [f"alone {place}" if pd.isna(group) else f"group {group}" for place, group in enumerate(groups)]
    return np.asarray(pd.factorize(np.array(named, dtype=object))[0], np.int64)


def draw(random: np.random.Generator, units: int, resamples: int) -> NDArray[np.float64]:
    """Return (resamples, units) how often each unit is drawn when as many are drawn as there are."""
    drawn = random.integers(0, units, (resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)


def _around(value: float, draws: NDArray[np.float64], metric: str) -> list[float] | None:
    """Return the interval of a metric, or of a difference in it, with this value on the rows themselves."""
    found = percentiles(draws)
    if found is None or metric not in BIASED:
        return found
    low, high = found
    return [2 * value - high, 2 * value - low]


def percentiles(draws: NDArray[np.float64]) -> list[float] | None:
    """Return the central CONFIDENCE interval of the defined `draws`; None when fewer than half are defined."""
    defined = draws[np.isfinite(draws)]
    if 2 * len(defined) < max(len(draws), 1):
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return [float(low), float(high)]


def mcnemar(candidate: Predictions, opponent: Predictions) -> dict[str, float] | None:
    """Return McNemar's exact test of whether two models are right equally often on the same rows.

    Returns:
        `only_candidate` and `only_opponent`, rows that one alone has right, and `p`, two-sided; None for a kind whose
        answers are not right or wrong. It takes rows as independent: with groups, trust the interval more.

    """
    kind = KINDS[candidate.kind]
    ours, theirs = kind.right(candidate), kind.right(opponent)
    if ours is None or theirs is None:
        return None
    won, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return {"only_candidate": won, "only_opponent": lost, "p": p}
