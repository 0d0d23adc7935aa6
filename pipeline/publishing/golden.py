"""The golden rows: test rows whose answers are known, which every reopened export must give again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.publishing.reopen import likelihoods

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.judge.kinds import Predictions


@dataclass(frozen=True)
class Golden:
    """Rows whose answers are known.

    Attributes:
        kind: str. Of the task.
        texts: list of str.
        pairs: list of str or None, or None. Second texts.
        labels: list of str. In the bundle's order.
        answers: (items, outputs) float32. An item is a row or, of a tagger, a word of one; of a model that writes, the
            nats that a token of the reference costs; see `pipeline.publishing.reopen`.
        rows: (items,) int. Whose each is.
        unit: float. What a difference is counted in: 1 of probabilities, of numbers their spread.
        references: list of str, or None. What a model that writes was to write.
        written: list of str, or None. What it wrote, where no chance was in it.
    """

    kind: str
    texts: list[str]
    pairs: list[str | None] | None
    labels: list[str]
    answers: NDArray[np.float32]
    rows: NDArray[np.int64]
    unit: float
    references: list[str] | None = None
    written: list[str] | None = None


def order_of(predictions: Predictions) -> list[int]:
    """Return the places of all rows in the order of their ids' hashes: the same every time, from all over the file."""
    identities = [hashlib.sha256(str(row_id).encode()).hexdigest() for row_id in predictions.rows["row_id"]]
    return sorted(range(len(identities)), key=identities.__getitem__)


def golden_rows(predictions: Predictions, rows: int) -> Golden:
    """Return the first test rows in `order_of`."""
    import numpy as np

    from pipeline.judge.predictions import pairs_of

    chosen = order_of(predictions)[:rows]
    writes = predictions.kind == "generation"
    columns = [predictions.labels.index(label) for label in predictions.known]
    compared = likelihoods(predictions.kind, predictions.answers)
    told = [np.atleast_2d(compared[place]) for place in chosen]  # of a row: (its items, outputs)
    answers = np.concatenate(told).astype(np.float32)
    numbers = predictions.kind == "regression"
    return Golden(
        kind=predictions.kind,
        texts=[str(text) for text in predictions.rows["text"].iloc[chosen]],
        pairs=pairs_of(predictions.rows.iloc[chosen]),
        labels=list(predictions.known),
        answers=answers[:, columns] if predictions.known else answers,
        rows=np.repeat(np.arange(len(chosen)), [len(own) for own in told]),
        unit=(float(np.std(predictions.answers)) or 1.0) if numbers else 1.0,
        references=predictions.rows["label"].iloc[chosen].tolist() if writes else None,
        written=predictions.rows["predicted"].iloc[chosen].tolist() if writes else None,
    )
