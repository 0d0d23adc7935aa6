"""A text a text: BLEU, chrF and exact match, as sacreBLEU computes them (Post 2018, arXiv 1804.08771).

BLEU (Papineni 2002) and chrF (Popovic 2015) are functions of how many n-grams an answer has, its reference has, and
both have, summed over the rows: so the corpus score of any resample of the rows follows from the sums of that resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipeline.judge.kinds.kind import Answers, Predictions, defined, require_finite
from pipeline.measures.averages import Floats, ratio

COLUMNS = {
    "label": pa.string(),
    "predicted": pa.string(),
    "confidence": pa.float32(),
    "score": pa.float32(),
    "finished": pa.bool_(),
    "nats": pa.float32(),
    "tokens": pa.float32(),
}
# What a model says besides its text, where it says it; a baseline does not.
BESIDES = ("score", "finished", "nats", "tokens")
BLEU_WIDTH, CHRF_WIDTH = 10, 18  # lengths, matches and totals of 1 to 4 words; three counts of 1 to 6 characters
REMEMBERED = 200_000


def predict(
    rows: pd.DataFrame,
    known: tuple[str, ...],  # noqa: ARG001  of kinds with labels
    answers: Answers,
    tuned: dict[str, float] | None = None,  # noqa: ARG001  chosen by other kinds
) -> Predictions:
    """Return the texts as they are.

    Args:
        rows: the test rows.
        known: nothing.
        answers: DataFrame of `text`; of a model also `score`, whether it is `finished`, and the `nats` that the row's
            reference costs, with its `tokens`.
        tuned: nothing.

    Raises:
        TradewindError: a model gives a reference no finite probability.

    """
    given = rows.assign(predicted=answers["text"].tolist(), confidence=np.nan)
    for column in BESIDES:
        given[column] = answers[column].to_numpy() if column in answers else None
    if "nats" in answers:
        require_finite(answers["nats"].to_numpy(np.float64), len(rows), "test rows")
    return Predictions("generation", given, (), surprise(given), ())


def surprise(rows: pd.DataFrame) -> NDArray[np.float32]:
    """Return (rows,) the nats that a token of the row's reference costs the model; NaN of a baseline."""
    nats, tokens = (rows[name].to_numpy(np.float64, na_value=np.nan) for name in ("nats", "tokens"))
    return np.asarray(nats / tokens, np.float32)


def measure(predictions: Predictions) -> dict[str, Any]:
    """Return rows, the metrics, the words of answers and references, and how many answers were cut off.

    `perplexity` is that of a token of the references, given those before it; models with other vocabularies cannot be
    compared by it. A baseline has none.
    """
    rows = predictions.rows
    sums = np.asarray(statistics(predictions, ()).sum(axis=0)).reshape(1, -1)
    values = {name: float(value[0]) for name, value in scores(sums, ()).items()}
    nats = rows["nats"].to_numpy(np.float64, na_value=np.nan)
    if np.isfinite(nats).all():
        values["perplexity"] = float(np.exp(nats.sum() / rows["tokens"].astype(float).sum()))
    answers, references = (sum(len(text.split()) for text in rows[name]) for name in ("predicted", "label"))
    return {
        "rows": len(rows),
        "labels": [],
        **defined(values, {}),
        "words": {"answers": answers / len(rows), "references": references / len(rows)},
        "unfinished": int((rows["finished"] == False).sum()),  # noqa: E712  null of a baseline is neither
        "signatures": {name: str(metric.get_signature()) for name, metric in _metrics().items()},
    }


def statistics(predictions: Predictions, labels: Sequence[str]) -> csr_matrix:  # noqa: ARG001  of kinds with labels
    """Return (rows, 30): what BLEU and chrF sum, whether the answer is the reference, and 1."""
    rows = predictions.rows
    counts = [_counts(*pair) for pair in zip(rows["predicted"], rows["label"], strict=True)]
    table = np.array(counts, np.float64).reshape(len(rows), BLEU_WIDTH + CHRF_WIDTH)
    exact = right(predictions).astype(np.float64)
    return csr_matrix(np.concatenate([table, exact[:, None], np.ones((len(rows), 1))], axis=1))


def scores(sums: Floats, labels: Sequence[str]) -> dict[str, Floats]:  # noqa: ARG001  of kinds with labels
    """Return the headline metrics of (draws, statistics) sums; BLEU and chrF from 0 to 100."""
    metrics = _metrics()
    parts = {"bleu": sums[:, :BLEU_WIDTH], "chrf": sums[:, BLEU_WIDTH : BLEU_WIDTH + CHRF_WIDTH]}
    found = {
        name: np.array([metrics[name]._compute_score_from_stats(draw).score for draw in part.tolist()])
        for name, part in parts.items()
    }
    return {**found, "exact_match": ratio(sums[:, -2], sums[:, -1])}


@cache
def _metrics() -> dict[str, Any]:
    from sacrebleu import BLEU, CHRF

    # `force`: sacreBLEU takes answers that end in " ." for tokenised ones and warns of it; some texts are written so.
    return {"bleu": BLEU(force=True), "chrf": CHRF()}


@lru_cache(maxsize=REMEMBERED)
def _counts(answer: str, reference: str) -> tuple[int, ...]:
    """Return what sacreBLEU counts of one row; it has no public name for it, so a test holds the sums to its scores."""
    found: list[int] = []
    for metric in _metrics().values():
        found += metric._extract_corpus_statistics([answer], [[reference]])[0]
    return tuple(found)


def right(predictions: Predictions) -> NDArray[np.bool_]:
    """Return (rows,) whether the answer is the reference, to the letter."""
    return np.asarray(predictions.rows["label"] == predictions.rows["predicted"])


def mistakes(predictions: Predictions) -> pd.Series[float]:
    """Return how many points of its own chrF each answer that is not the reference lacks, by position."""
    table = statistics(predictions, ()).toarray()
    wrong = np.flatnonzero(~right(predictions))
    return pd.Series(100 - scores(table[wrong], ())["chrf"], index=wrong, dtype=np.float64)


def suspects(predictions: Predictions) -> list[tuple[int, str, float]]:  # noqa: ARG001
    """Return nothing: confident learning is about labels."""
    return []
