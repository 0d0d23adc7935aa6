"""How a run ended, in the few figures that a person reads first."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.search import spoken_value
from pipeline.judge.names import spoken
from pipeline.progress import format_figure


@dataclass(frozen=True)
class TaskOutcome:
    """One task: the verdict, the metrics side by side, and where the model went.

    Attributes:
        verdict: str. `pass`, `fail` or `needs_review`.
        reasons: list of str. Sentences.
        candidate, baseline, champion, scratch: dict. As in metrics.json; None where a run has no such model.
        version: str. In the registry; None when it was refused.
        model: str. Name in the registry.
        example: dict. A test row that the candidate answered right: text, text_pair where there is one, label,
            confidence; None when there is none.
        forced: str. Why it was published against its verdict; None when it was not.
        waits: bool. Whether it is published as soon as a person approves it.
        search: dict. The result of the search for its values; None when there was none.
        delivered: list of str. Where it is besides the registry.
    """

    verdict: str
    reasons: list[str]
    candidate: dict[str, Any]
    baseline: dict[str, Any]
    champion: dict[str, Any] | None
    version: str | None
    model: str
    example: dict[str, Any] | None
    forced: str | None = None
    waits: bool = False
    scratch: dict[str, Any] | None = None
    search: dict[str, Any] | None = None
    delivered: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """One run: its tasks, the page of its report, and how long it took."""

    run_id: str
    tasks: dict[str, TaskOutcome]
    report: Path
    seconds: float


def read_metrics(artifact: Path) -> dict[str, Any]:
    """Return the metrics.json of an evaluation."""
    metrics: dict[str, Any] = json.loads((artifact / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def example_of(evaluation: Path) -> dict[str, Any] | None:
    """Return a test row that was answered right, with the answer: the first by hash of its id; numbers have none.

    Texts that a model writes are seldom right to the letter: of them any row that was answered to the end will do.
    """
    import pyarrow.parquet as pq

    columns = ["row_id", "text", "text_pair", "label", "predicted", "confidence"]
    file = pq.ParquetFile(evaluation / "predictions.parquet")
    writes = "finished" in file.schema_arrow.names
    rows = file.read([*columns, *(["finished"] if writes else [])]).to_pylist()
    right = [row for row in rows if (row["finished"] if writes else _is_right(row) and row["confidence"] is not None)]
    if not right:
        return None
    row = min(right, key=lambda row: hashlib.sha256(row["row_id"].encode()).hexdigest())
    between = " " if "words" in file.schema_arrow.names else ", "  # tags of words, or a set of labels
    answer = row["predicted"] if isinstance(row["predicted"], str) else between.join(row["predicted"]) or "no label"
    pair = {"text_pair": row["text_pair"]} if row["text_pair"] else {}
    return {"text": row["text"], **pair, "label": answer, "confidence": row["confidence"]}


def _is_right(row: dict[str, Any]) -> bool:
    """Return whether a row's answer is its label or, of a question, one of those that are acceptable."""
    label = row["label"]
    if isinstance(label, list) and label and isinstance(label[0], dict):
        return any(span["text"] == row["predicted"] for span in label)
    return bool(row["predicted"] == label)


# Of these metrics, those that a kind of task has are shown of its evaluations.
KNOWN_BY = (
    *("accuracy", "macro_recall", "subset_accuracy", "micro_f1", "rmse", "pearson", "token_accuracy", "f1"),
    *("exact_match", "token_f1", "bleu", "chrf"),
)
# What the permanent line of a finished step shows: result key -> how it is called.
SHOWN = {
    "validate": {"kept": "rows", "quarantined": "quarantined"},
    "drift": {},
    "preprocess": {"corpus_tokens": "tokens", "vocabulary_size": "vocabulary", "packing_efficiency": "packed"},
    "pretrain": {
        "steps": "steps",
        "loss": "loss",
        "validation_loss": "validation loss",
        "tokens_per_second": "tokens/s",
    },
    "finetune": {
        "steps": "steps",
        "loss": "loss",
        "validation_accuracy": "validation accuracy",
        "tokens_per_second": "tokens/s",
    },
    "scratch": {"steps": "steps", "loss": "loss", "validation_accuracy": "validation accuracy"},
    "trial": {},
    "search": {"best_trial": "best trial"},
    "baseline": {},
    "evaluate": {},
    "gate": {"verdict": "verdict"},
    "publish": {"golden_rows": "golden rows", "max_difference": "largest difference"},
}


def summary(step: str, result: dict[str, Any]) -> str:
    """Return the figures of a finished step as one line."""
    shown = {name: result.get(key) for key, name in SHOWN[step].items()}
    shown |= {name.replace("_", " "): value for name, value in result.get("language", {}).items()}
    if long := sum(task.get("long_texts", 0) for task in result.get("tasks", {}).values()):
        shown["longer than the model"] = long
    if step == "trial":
        shown |= {key: spoken_value(value) for key, value in result["values"].items()}
        shown |= {"diverged": ""} if result["diverged"] else {spoken(result["metric"], start=False): result["value"]}
    if step == "search":
        shown[spoken(result["metric"], start=False)] = result["validation_metric"]
    metrics = result.get("metrics") or {}
    shown |= {spoken(name, start=False): metrics[name] for name in KNOWN_BY if name in metrics}
    return "  ".join(f"{name} {format_figure(value)}" for name, value in shown.items() if value is not None)
