"""Ask a model the test rows and keep every answer; the candidate and the champion go through the same door."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.bundle import Bundle
from pipeline.config import Recipe
from pipeline.errors import TradewindError
from pipeline.judge.metrics import HEADLINES
from pipeline.judge.predictions import pairs_of, predict, read_split, write_predictions
from pipeline.progress import Progress


@dataclass(frozen=True)
class EvaluateResult:
    """How a model does on the test rows; `unseen_rows` of them carry labels it never saw and count as wrong."""

    task: str
    rows: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_f1: float
    unseen_rows: int


def evaluate(
    recipe: Recipe,  # noqa: ARG001  every step takes its recipe; this one needs only the backend, selected before
    task: str,
    tokens: Path,
    model: Path,
    out: Path,
    progress: Progress,
) -> EvaluateResult:
    """Answer the test rows of a task with the bundle in `model`; write predictions.parquet and metrics.json.

    Args:
        recipe: nothing of it is read.
        task: name of the task.
        tokens: artifact folder of `preprocess`.
        model: bundle folder, of the candidate or of the champion.
        out: receives predictions.parquet and metrics.json.
        progress: told the rows answered.

    Raises:
        SourceError: the test split is empty.
        TradewindError: the bundle was trained for another task, or answers with NaN.

    """
    test = read_split(tokens, task, "test")
    bundle = Bundle.load(model)
    if bundle.task != task:
        raise TradewindError(
            f"the model in {model} was trained for task {bundle.task!r}, but is to be judged on {task!r}; "
            f"expected a model of {task!r}: name another artifact, or train one with --task {task}"
        )
    probabilities = bundle.answer(test["text"].tolist(), pairs_of(test), progress)  # (rows, known labels)
    predictions = predict(test, bundle.labels, probabilities)
    metrics = write_predictions(out, task, "transformer", predictions)
    if predictions.unseen:
        progress.say(
            f"{metrics['unseen_rows']} of {len(test):,} test rows carry labels this model never saw "
            f"({', '.join(predictions.unseen)}); they count as wrong"
        )
    progress.say(f"accuracy {metrics['accuracy']:.3f}, macro-F1 {metrics['macro_f1']:.3f} on {len(test):,} test rows")
    return EvaluateResult(task=task, **{name: metrics[name] for name in ("rows", *HEADLINES, "unseen_rows")})
