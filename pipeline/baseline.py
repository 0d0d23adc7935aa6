"""Step `baseline`: the cheap opponents, a linear model and the majority answer, on the rows that a model is judged on.

predictions.parquet and metrics.json of the linear model, majority/ with those of the majority answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.config import Recipe
from pipeline.errors import SourceError
from pipeline.judge.baselines.linear import Linear, linear
from pipeline.judge.baselines.majority import majority
from pipeline.judge.baselines.nearest import nearest, plain
from pipeline.judge.baselines.ranked_spans import ranked_spans
from pipeline.judge.names import opponent
from pipeline.judge.predictions import read_split, write_predictions
from pipeline.judge.prose import figures
from pipeline.progress import Progress

MAJORITY = "majority"


@dataclass(frozen=True)
class BaselineResult:
    """How the linear model, or what stands in for it, does on the test rows.

    `metrics` are the headlines of the kind, `majority` the same of the majority answer.
    """

    task: str
    kind: str
    rows: int
    metrics: dict[str, float | None]
    majority: dict[str, float | None]
    regularisation: float | None
    features: int
    unseen_rows: int


def baseline(recipe: Recipe, task: str, tokens: Path, out: Path, progress: Progress) -> BaselineResult:
    """Train the linear model on a task's train rows, choose its strength on its validation rows, judge it on its test.

    Args:
        recipe: `seed` and `tasks.<task>.data.kind` are read.
        task: name of the task.
        tokens: artifact folder of `preprocess`.
        out: receives predictions.parquet, metrics.json and majority/.
        progress: told the stage and the score per strength of regularisation.

    Raises:
        SourceError: a split is empty, or the training rows hold nothing to tell apart.

    """
    kind = recipe.tasks[task].data.kind
    train, validation, test = (read_split(tokens, task, split) for split in ("train", "validation", "test"))
    known = labels_of(kind, task, train)
    fitted: Linear
    if kind == "generation":
        fitted = nearest(train, test, progress)
    elif kind == "question_answering":
        fitted = ranked_spans(train, validation, test, recipe.seed, progress)
    else:
        fitted = linear(kind, train, validation, test, known, recipe.seed, progress)
    metrics = write_predictions(out, task, opponent("baseline", kind), fitted.predictions)
    simple, said = plain(train, test) if kind == "generation" else majority(kind, train, test, known)
    (out / MAJORITY).mkdir(exist_ok=True)
    plain_metrics = write_predictions(out / MAJORITY, task, MAJORITY, simple, {"said": said})
    strength = "" if fitted.regularisation is None else f" ({fitted.regularisation:g})"
    progress.say(
        f"{fitted.said}{strength}: {figures(metrics)} on {len(test):,} test rows; {said}: {figures(plain_metrics)}"
    )
    return BaselineResult(
        task=task,
        kind=kind,
        rows=metrics["rows"],
        metrics={name: metrics[name] for name in metrics["headlines"]},
        majority={name: plain_metrics[name] for name in plain_metrics["headlines"]},
        regularisation=fitted.regularisation,
        features=fitted.features,
        unseen_rows=metrics["unseen_rows"],
    )


def labels_of(kind: str, task: str, train: pd.DataFrame) -> tuple[str, ...]:
    """Return the labels of the training rows, sorted; none for kinds without classes.

    Raises:
        SourceError: there is nothing to tell apart.
    """
    at_fault = f"check tasks.{task}.data (source, label, where)"
    if kind in ("question_answering", "generation"):
        return ()
    if kind == "regression":
        if train["label"].nunique() < 2:
            raise SourceError(
                f"task {task!r} has the same number, {train['label'].iloc[0]:g}, in all its {len(train)} training "
                f"rows; expected numbers that differ: {at_fault}"
            )
        return ()
    found = set(train["label"]) if kind == "classification" else set().union(*train["label"])
    classes = sorted(found)
    least, model = (1, "A multi-label model") if kind == "multi_label" else (2, f"A {NOUNS[kind]}")
    if len(classes) < least:
        raise SourceError(
            f"task {task!r} has {len(classes)} label{'' if len(classes) == 1 else 's'} in its {len(train)} training "
            f"rows: {classes}. {model} needs at least {'one' if least == 1 else 'two'}: {at_fault}, or add rows of "
            "another label."
        )
    return tuple(classes)


NOUNS = {"classification": "classifier", "tagging": "tagger"}
