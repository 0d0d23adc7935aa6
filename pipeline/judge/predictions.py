"""Answers of one model on the test rows, kept row by row so that any number can be recomputed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import SourceError, TradewindError
from pipeline.judge.metrics import measure

PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
NAMED = 5


@dataclass(frozen=True)
class Predictions:
    """One model's answers.

    Args:
        rows: one line per test row with `row_id`, `text`, `label` (the truth), `predicted`, `confidence` (probability
            of `predicted`) and `group` (null when the source has none).
        labels: every label that the model knows or the test rows carry, sorted.
        probabilities: (rows, labels) float32; 0 for labels that the model does not know.
        known: the labels the model was trained on.

    """

    rows: pd.DataFrame
    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]
    known: tuple[str, ...]

    @property
    def unseen(self) -> dict[str, int]:
        """Rows per label that the model cannot answer; they count as wrong."""
        unseen = self.rows["label"][~self.rows["label"].isin(self.known)]
        return {str(label): int(count) for label, count in unseen.value_counts().sort_index().items()}


def read_split(tokens: Path, task: str, split: str) -> pd.DataFrame:
    """Return a task's rows (row_id, text, text_pair, label, group) of `split`.

    Raises:
        SourceError: there are none.
    """
    rows = pd.read_parquet(tokens / "tasks" / task / f"{split}.parquet")
    if rows.empty:
        raise SourceError(
            f"task {task!r} has no rows in its {split} split, so it cannot be trained and judged. Expected at least "
            f"one: give the source more rows or groups, raise preprocess.split.{split}, or try another "
            "preprocess.split.salt."
        )
    for column in ("group", "text_pair"):
        if column not in rows:
            rows[column] = None
    return rows[["row_id", "text", "text_pair", "label", "group"]].reset_index(drop=True)


def pairs_of(rows: pd.DataFrame) -> list[str | None] | None:
    """Return the second text of each row, None where it has none; None when no row has one."""
    pairs = rows["text_pair"]
    return None if pairs.isna().all() else [pair if isinstance(pair, str) else None for pair in pairs]


def whole_texts(rows: pd.DataFrame) -> list[str]:
    """Return each text with its second text behind it, for models that read one."""
    pairs = pairs_of(rows) or [None] * len(rows)
    return [text if pair is None else f"{text}\n{pair}" for text, pair in zip(rows["text"], pairs, strict=True)]


def predict(rows: pd.DataFrame, known: tuple[str, ...], probabilities: NDArray[np.floating[Any]]) -> Predictions:
    """Return the most probable label of each row; `probabilities` is (rows, known labels), finite."""
    if not np.isfinite(probabilities).all():
        broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
        raise TradewindError(
            f"the model answers {broken} of {len(rows)} test rows with NaN or infinite probabilities; expected finite "
            "ones: its training diverged, lower the learning rate or use runtime.precision=float32"
        )
    labels = tuple(sorted(set(known) | set(rows["label"])))
    spread = np.zeros((len(rows), len(labels)), dtype=np.float32)  # (rows, labels)
    spread[:, [labels.index(label) for label in known]] = probabilities
    best = probabilities.argmax(axis=1)
    answers = rows.assign(predicted=[known[index] for index in best], confidence=probabilities.max(axis=1))
    return Predictions(answers, labels, spread, tuple(known))


def write_predictions(out: Path, task: str, model: str, predictions: Predictions) -> dict[str, Any]:
    """Write predictions.parquet and metrics.json into `out`; return the metrics."""
    rows = predictions.rows
    table = pa.table(
        {
            **{name: pa.array(rows[name].tolist(), pa.string()) for name in ("row_id", "text", "label", "predicted")},
            "confidence": pa.array(rows["confidence"].to_numpy(np.float32)),
            "probabilities": pa.array(list(predictions.probabilities), pa.list_(pa.float32())),
            **{
                name: pa.array([None if pd.isna(value) else str(value) for value in rows[name]], pa.string())
                for name in ("text_pair", "group")
            },
        }
    )
    pq.write_table(table, out / PREDICTIONS)
    metrics = {
        "task": task,
        "model": model,
        **measure(predictions.labels, rows["label"], rows["predicted"]),
        "known_labels": list(predictions.known),
        "unseen_labels": predictions.unseen,
        "unseen_rows": sum(predictions.unseen.values()),
    }
    (out / METRICS).write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return metrics


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the metrics.json that `evaluate` or `baseline` wrote into `folder`."""
    metrics: dict[str, Any] = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    return metrics


def read_predictions(folder: Path) -> Predictions:
    """Return the answers that `evaluate` or `baseline` wrote into `folder`."""
    metrics = read_metrics(folder)
    rows = pq.read_table(folder / PREDICTIONS).to_pandas()
    probabilities = np.array(rows.pop("probabilities").tolist(), dtype=np.float32)  # (rows, labels)
    return Predictions(rows, tuple(metrics["labels"]), probabilities, tuple(metrics["known_labels"]))


def same_rows(task: str, answers: dict[str, Predictions]) -> dict[str, Predictions]:
    """Return every model's predictions in the row order of the first; raise unless all answer exactly its rows."""
    first, reference = next((model, predictions.rows) for model, predictions in answers.items())
    truth = dict(zip(reference["row_id"], reference["label"], strict=True))
    aligned = {}
    for model, predictions in answers.items():
        rows = predictions.rows
        twice = rows["row_id"][rows["row_id"].duplicated()].unique().tolist()
        if twice:
            raise TradewindError(
                f"the {model}'s predictions for task {task!r} answer {len(twice)} rows twice, such as {twice[:NAMED]}; "
                "expected one answer per row_id: run preprocess and the evaluation again"
            )
        other = dict(zip(rows["row_id"], rows["label"], strict=True))
        missing, extra = [row for row in truth if row not in other], [row for row in other if row not in truth]
        relabelled = [row for row, label in truth.items() if row in other and other[row] != label]
        if missing or extra or relabelled:
            raise TradewindError(
                f"{first} and {model} were judged on different test rows of task {task!r}: {len(missing)} only by the "
                f"{first}, {len(extra)} only by the {model}, {len(relabelled)} with another label, such as "
                f"{(missing + extra + relabelled)[:NAMED]}. Expected the same rows and labels: evaluate both with the "
                "same preprocess artifact"
            )
        order = pd.Index(rows["row_id"]).get_indexer(pd.Index(truth))  # (rows,)
        ordered = rows.iloc[order].reset_index(drop=True)
        aligned[model] = replace(predictions, rows=ordered, probabilities=predictions.probabilities[order])
    return aligned
