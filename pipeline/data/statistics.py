"""What the rows look like, as JSON: counts, lengths, labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "max": 1.0}


def source_statistics(kept: pd.DataFrame, reasons: Mapping[str, list[str]], rows: int) -> dict[str, Any]:
    """Return the counts of a source and the lengths of its sound texts.

    Args:
        kept: the sound rows.
        reasons: why each other row was quarantined, by row id.
        rows: all rows of the source.
    """
    return {
        "rows": rows,
        "kept": len(kept),
        "quarantined": len(reasons),
        "quarantined_by_reason": count_reasons(reasons.values()),
        "distinct_texts": int(kept["text"].nunique()),
        "characters": _quantiles(kept["text"].str.len()),
        "words": _quantiles(kept["text"].str.count(r"\S+")),
    }


def task_statistics(labels: pd.DataFrame, texts: pd.DataFrame) -> dict[str, Any]:
    """Return the counts of a task from its frames `label, rows` and `text, labels`."""
    return {
        "rows": int(labels["rows"].sum()),
        "distinct_texts": len(texts),
        "texts_with_several_labels": int((texts["labels"] > 1).sum()),
        "labels": {str(label): int(rows) for label, rows in zip(labels["label"], labels["rows"], strict=True)},
    }


def count_reasons(reasons: Iterable[list[str]]) -> dict[str, int]:
    """Return how many rows each kind of reason concerns, commonest first; a row may have several."""
    counts = Counter(reason.partition(":")[0] for row in reasons for reason in row)
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _quantiles(lengths: pd.Series[Any]) -> dict[str, float]:
    if lengths.empty:
        return {}
    found = lengths.quantile(list(QUANTILES.values()))
    figures = {name: round(float(value), 2) for name, value in zip(QUANTILES, found, strict=True)}
    return figures | {"mean": round(float(lengths.mean()), 2), "total": int(lengths.sum())}
