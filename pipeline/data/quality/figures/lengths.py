"""Lengths as `value -> how often`: exact, and small, since only few texts can be long."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "max": 1.0}
RANGES = 20


def merge_counts(total: dict[int, int], values: np.ndarray) -> None:
    """Add how often each of the values occurs to `total`."""
    found, counts = np.unique(values, return_counts=True)
    for value, count in zip(found.tolist(), counts.tolist(), strict=True):
        total[value] = total.get(value, 0) + count


def quantiles(histogram: Mapping[int, int]) -> dict[str, float]:
    """Return the quantiles, mean and total of `value -> how often`."""
    if not histogram:
        return {}
    values = np.array(sorted(histogram), np.int64)
    counts = np.array([histogram[value] for value in values.tolist()], np.int64)
    figures = {name: round(_quantile(values, counts, share), 2) for name, share in QUANTILES.items()}
    total = int((values * counts).sum())
    return figures | {"mean": round(total / int(counts.sum()), 2), "total": total}


def length_ranges(lengths: Mapping[int, int]) -> list[list[int]]:
    """Return [first, last, rows] for at most RANGES ranges of lengths, each as much wider as its lengths are longer."""
    if not lengths:
        return []
    low, high = min(lengths), max(lengths)
    edges = np.unique(np.geomspace(max(low, 1), high + 1, RANGES + 1).round().astype(np.int64))
    values = np.array(sorted(lengths), np.int64)
    rows = np.array([lengths[value] for value in values.tolist()], np.int64)
    counts, _ = np.histogram(values, bins=edges, weights=rows)
    return [
        [int(first), int(after) - 1, int(count)]
        for first, after, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _quantile(values: np.ndarray, counts: np.ndarray, share: float) -> float:
    """Return the quantile of `values` (sorted, each `counts` times), between neighbours as NumPy does by default."""
    ends = np.cumsum(counts)
    place = share * (int(ends[-1]) - 1)
    low, high = values[np.searchsorted(ends, [np.floor(place), np.ceil(place)], side="right")]
    return float(low + (high - low) * (place - np.floor(place)))
