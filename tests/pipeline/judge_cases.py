"""Small judged models: predictions on disk as `evaluate` and `baseline` write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.baseline import MAJORITY
from pipeline.config import Recipe
from pipeline.judge.baselines.majority import majority
from pipeline.judge.predictions import predict, write_predictions
from pipeline.judge.worst import write_errors


def make_recipe(**gate: Any) -> Recipe:
    """A recipe with one task, `organ`, and the gate given."""
    return Recipe.model_validate(
        {
            "name": "clinic",
            "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv"}}},
            "tasks": {"organ": {"description": "Which organ", "data": {"source": "notes"}, "gate": gate}},
        }
    )


def answer(
    folder: Path,
    truth: Sequence[str],
    answers: Sequence[str],
    *,
    texts: Sequence[str] | None = None,
    row_ids: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    confidence: float = 0.9,
    model: str = "transformer",
) -> Path:
    """Write the predictions of a model that gives `answers`, every label in either list known to it; and a majority."""
    known = tuple(sorted({*truth, *answers}))
    rows = pd.DataFrame(
        {
            "row_id": list(row_ids or [f"notes:{index}" for index in range(len(truth))]),
            "text": list(texts or [f"text {index}" for index in range(len(truth))]),
            "label": list(truth),
            "text_pair": [None] * len(truth),
            "group": list(groups or [None] * len(truth)),
        }
    )
    probabilities = np.full((len(truth), len(known)), (1 - confidence) / max(len(known) - 1, 1), np.float32)
    probabilities[np.arange(len(truth)), [known.index(label) for label in answers]] = confidence
    folder.mkdir(parents=True, exist_ok=True)
    predictions = predict("classification", rows, known, probabilities)
    write_predictions(folder, "organ", model, predictions)
    write_errors(folder, predictions)
    plain, said = majority("classification", rows, rows, tuple(sorted(set(truth))))
    (folder / MAJORITY).mkdir(exist_ok=True)
    write_predictions(folder / MAJORITY, "organ", MAJORITY, plain, {"said": said})
    return folder


def write_split(tokens: Path, task: str, split: str, texts: Sequence[str], labels: Sequence[str]) -> None:
    """Write a split as `preprocess` does."""
    folder = tokens / "tasks" / task
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {
            "row_id": [f"{split}:{index}" for index in range(len(texts))],
            "text": pd.Series(texts, dtype="str"),
            "label": pd.Series(labels, dtype="str"),
            "group": [f"{split} {index}" for index in range(len(texts))],
        }
    ).to_parquet(folder / f"{split}.parquet", index=False)
