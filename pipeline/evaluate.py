"""Ask a model the test rows and keep every answer; the candidate and the champion go through the same door.

predictions.parquet, metrics.json, errors.json (mistakes and likely label errors)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.bundle import CARD, MODEL, TOKENIZER, Bundle
from pipeline.config import Recipe
from pipeline.errors import TradewindError
from pipeline.judge.names import TUNED
from pipeline.judge.predictions import pairs_of, predict, read_split, write_predictions
from pipeline.judge.prose import figures
from pipeline.judge.slices import with_columns, with_slices
from pipeline.judge.worst import write_errors
from pipeline.progress import Progress

TIMED_TEXTS = 20


@dataclass(frozen=True)
class EvaluateResult:
    """How a model does on the test rows; `unseen_rows` of them carry labels it never saw and count as wrong.

    `metrics` are the headlines of the task's kind; null where one is undefined.
    """

    task: str
    kind: str
    rows: int
    metrics: dict[str, float | None]
    unseen_rows: int


def evaluate(
    recipe: Recipe, task: str, tokens: Path, model: Path, rows: Path, out: Path, progress: Progress
) -> EvaluateResult:
    """Answer the test rows of a task with the bundle in `model`; write predictions.parquet, metrics.json, errors.json.

    Args:
        recipe: `tasks.<task>.data.kind`, `.data.source`, `.evaluate`, `.decode` and `.gate.max_milliseconds` are read.
        task: name of the task.
        tokens: artifact folder of `preprocess`.
        model: bundle folder, of the candidate or of the champion.
        rows: artifact folder of `validate`, for the columns that are sliced by.
        out: receives the files.
        progress: told the rows answered.

    Raises:
        SourceError: the test split is empty, or lacks a column that is to be sliced by.
        TradewindError: the bundle was trained for another task, or answers with NaN.

    """
    section = recipe.tasks[task]
    kind = section.data.kind
    test = read_split(tokens, task, "test")
    bundle = Bundle.load(model)
    if bundle.task != task:
        raise TradewindError(
            f"the model in {model} was trained for task {bundle.task!r}, but is to be judged on {task!r}; "
            f"expected a model of {task!r}: name another artifact, or train one with --task {task}"
        )
    if kind == "generation":  # a champion writes as it was published to
        bundle = replace(bundle, decode=bundle.decode or section.decode)
    whole = with_columns(test, rows, section.data.source, section.evaluate.slices)
    sliced = with_slices(kind, whole, read_split(tokens, task, "train"), section.evaluate)
    tuned = dict(zip(bundle.labels, bundle.thresholds, strict=True)) if kind in TUNED else {}
    predictions = predict(kind, sliced, bundle.labels, answers_of(bundle, test, progress), tuned)
    cost = {"megabytes": megabytes(model), "milliseconds": None}
    if section.gate.max_milliseconds is not None:
        cost["milliseconds"] = milliseconds(bundle, test)
    metrics = write_predictions(out, task, "transformer", predictions, {"cost": cost})
    errors = write_errors(out, predictions)
    if predictions.unseen:
        progress.say(
            f"{metrics['unseen_rows']} of {len(test):,} test rows carry labels this model never saw "
            f"({', '.join(predictions.unseen)}); they count as wrong"
        )
    if errors["suspects_error"]:
        progress.say(f"likely label errors could not be looked for: {errors['suspects_error']}")
    progress.say(f"{figures(metrics)} on {len(test):,} test rows")
    return EvaluateResult(
        task=task,
        kind=kind,
        rows=metrics["rows"],
        metrics={name: metrics[name] for name in metrics["headlines"]},
        unseen_rows=metrics["unseen_rows"],
    )


def answers_of(bundle: Bundle, rows: pd.DataFrame, progress: Progress) -> Any:
    """Return what the model says of each row, as `Kind.predict` takes it."""
    if bundle.kind == "generation":
        from pipeline.likelihood import surprise
        from pipeline.writing import write

        texts, pairs = rows["text"].tolist(), pairs_of(rows)
        written, costs = write(bundle, texts, pairs, progress), surprise(bundle, texts, pairs, rows["label"].tolist())
        columns = {"text": written.texts, "score": written.scores, "finished": written.finished}
        return pd.DataFrame(columns | {"nats": costs[:, 0], "tokens": costs[:, 1]})
    return bundle.answer(rows["text"].tolist(), pairs_of(rows), progress)


def megabytes(bundle: Path) -> float:
    """Return the size of the bundle's files; what a publication has put beside them does not count."""
    return round(sum((bundle / name).stat().st_size for name in (MODEL, TOKENIZER, CARD)) / 1e6, 3)


def milliseconds(bundle: Bundle, rows: pd.DataFrame) -> float:
    """Return the median time of an answer to one text; each is asked once before, so that nothing is compiled in it."""
    few = rows.iloc[:: max(1, len(rows) // TIMED_TEXTS)].head(TIMED_TEXTS)
    times = []
    for place in range(len(few)):
        one = few.iloc[[place]]
        bundle.answer(one["text"].tolist(), pairs_of(one))
        started = time.perf_counter()
        bundle.answer(one["text"].tolist(), pairs_of(one))
        times.append(time.perf_counter() - started)
    return round(1000 * float(np.median(times)), 3)
