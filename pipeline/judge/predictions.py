"""Answers of one model on the test rows, kept row by row so that any number can be recomputed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceError, TradewindError
from pipeline.judge.kinds import KINDS, Predictions, generation
from pipeline.judge.names import HEADLINES

PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
NAMED = 5
CONTRACT = ("row_id", "text", "text_pair", "label", "group", "words")
ANSWERS = ("probabilities", "candidates")  # the column that holds `Predictions.answers`
# Columns of predictions.parquet that say which slice a row belongs to start with this.
SLICE = "slice."


def read_split(tokens: Path, task: str, split: str) -> pd.DataFrame:
    """Return a task's rows (row_id, text, text_pair, label, group; of tagging, words; then kept columns) of `split`.

    Raises:
        SourceError: there are none.
    """
    rows = frame_of(pq.read_table(tokens / "tasks" / task / f"{split}.parquet"))
    if rows.empty:
        raise SourceError(
            f"task {task!r} has no rows in its {split} split, so it cannot be trained and judged. Expected at least "
            f"one: give the source more rows or groups, raise preprocess.split.{split}, or try another "
            "preprocess.split.salt."
        )
    for column in ("group", "text_pair"):
        if column not in rows:
            rows[column] = None
    first = [column for column in CONTRACT if column in rows]
    return rows[first + [column for column in rows if column not in first]]


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Return the table with lists as Python lists, which compare with == as a whole."""
    lists = {name: table[name].to_pylist() for name in table.column_names if pa.types.is_list(table[name].type)}
    frame: pd.DataFrame = table.drop_columns(list(lists)).to_pandas()
    for name in table.column_names:
        if name in lists:
            frame[name] = pd.Series(lists[name], dtype=object, index=frame.index)
    return frame


def pairs_of(rows: pd.DataFrame) -> list[str | None] | None:
    """Return the second text of each row, None where it has none; None when no row has one."""
    pairs = rows["text_pair"]
    return None if pairs.isna().all() else [pair if isinstance(pair, str) else None for pair in pairs]


def whole_texts(rows: pd.DataFrame) -> list[str]:
    """Return each text with its second text behind it, for models that read one."""
    pairs = pairs_of(rows) or [None] * len(rows)
    return [text if pair is None else f"{text}\n{pair}" for text, pair in zip(rows["text"], pairs, strict=True)]


def predict(
    kind: str,
    rows: pd.DataFrame,
    known: tuple[str, ...],
    answers: Any,
    tuned: dict[str, float] | None = None,
) -> Predictions:
    """Return the predictions that a model's answers to the test rows amount to.

    Args:
        kind: name of the kind of task.
        rows: as `read_split` gives them.
        known: the labels that the model was trained on, in the order of its answers; none for regression.
        answers: as `Predictions.answers`, over the known labels.
        tuned: what `Kind.tune` chose on the validation rows.

    Raises:
        TradewindError: an answer is not finite.

    """
    return KINDS[kind].predict(rows, known, answers, tuned or {})


def write_predictions(
    out: Path, task: str, model: str, predictions: Predictions, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write predictions.parquet and metrics.json into `out`, the latter with `extra`; return the metrics."""
    rows, kind = predictions.rows, KINDS[predictions.kind]
    text = {name: [None if pd.isna(value) else str(value) for value in rows[name]] for name in _texts(rows)}
    columns = {"row_id": text.pop("row_id"), "text": text.pop("text")}
    table = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    for name, arrow in kind.COLUMNS.items():
        values = list(predictions.answers) if name in ANSWERS else rows[name].tolist() if name in rows else None
        if values is not None:
            table[name] = pa.array(_plain(values), arrow, from_pandas=True)
    table |= {name: pa.array(values, pa.string()) for name, values in text.items()}
    pq.write_table(pa.table(table), out / PREDICTIONS)
    metrics = {
        "task": task,
        "kind": predictions.kind,
        "model": model,
        "headlines": list(HEADLINES[predictions.kind]),
        **kind.measure(predictions),
        "known_labels": list(predictions.known),
        "unseen_labels": predictions.unseen,
        "unseen_rows": unseen_rows(predictions),
        **(extra or {}),
    }
    text_of = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    (out / METRICS).write_text(text_of + "\n", encoding="utf-8")
    return metrics


def _texts(rows: pd.DataFrame) -> list[str]:
    return ["row_id", "text", "text_pair", "group", *(str(name) for name in rows if str(name).startswith(SLICE))]


def _plain(values: list[Any]) -> list[Any]:
    """Return the values with arrays of arrays as lists of arrays, which is what Arrow takes."""
    return [list(value) if isinstance(value, np.ndarray) and value.ndim > 1 else value for value in values]


def unseen_rows(predictions: Predictions) -> int:
    """Return how many rows carry a label that the model never saw."""
    if not predictions.labels:
        return 0
    known = set(predictions.known)
    labels = predictions.rows["label"]
    return sum(not ({label} if isinstance(label, str) else set(label)) <= known for label in labels)


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the metrics.json that `evaluate` or `baseline` wrote into `folder`."""
    metrics: dict[str, Any] = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    return metrics


def read_predictions(folder: Path) -> Predictions:
    """Return the answers that `evaluate` or `baseline` wrote into `folder`."""
    metrics = read_metrics(folder)
    rows = frame_of(pq.read_table(folder / PREDICTIONS))
    answers: Any
    column = next((name for name in ANSWERS if name in rows), None)
    if metrics["kind"] == "generation":
        answers = generation.surprise(rows)
    elif column is None:
        answers = rows["predicted"].to_numpy(np.float32)
    elif metrics["kind"] == "tagging":
        width = len(metrics["labels"])
        answers = [np.array(row, np.float32).reshape(-1, width) for row in rows.pop(column)]
    else:
        answers = np.array(rows.pop(column).tolist(), dtype=np.float32)  # (rows, labels) or (rows, answers, 3)
    labels, known = tuple(metrics["labels"]), tuple(metrics["known_labels"])
    return Predictions(metrics["kind"], rows, labels, answers, known, metrics.get("thresholds", {}))


def same_rows(task: str, answers: dict[str, Predictions]) -> dict[str, Predictions]:
    """Return every model's predictions in the row order of the first; raise unless all answer exactly its rows."""
    first, reference = next(iter(answers.items()))
    truth = _truth(reference)
    aligned = {}
    for model, predictions in answers.items():
        rows = predictions.rows
        if predictions.kind != reference.kind:
            raise TradewindError(
                f"the {first} of task {task!r} was judged as {reference.kind} and the {model} as {predictions.kind}; "
                "expected one kind: a task that changes its kind is a new task, give it another name"
            )
        twice = rows["row_id"][rows["row_id"].duplicated()].unique().tolist()
        if twice:
            raise TradewindError(
                f"the {model}'s predictions for task {task!r} answer {len(twice)} rows twice, such as {twice[:NAMED]}; "
                "expected one answer per row_id: run preprocess and the evaluation again"
            )
        other = _truth(predictions)
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
        aligned[model] = predictions.take(order)
    return aligned


def _truth(predictions: Predictions) -> dict[str, Any]:
    """Return row_id -> label; a set of labels has no order."""
    unordered = predictions.kind == "multi_label"
    labels = [sorted(set(label)) if unordered else label for label in predictions.rows["label"]]
    return dict(zip(predictions.rows["row_id"], labels, strict=True))
