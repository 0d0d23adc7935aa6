"""The kinds of tasks, each one module that holds all that judging needs to know of it."""

from __future__ import annotations

from pipeline.judge.kinds import classification, generation, multi_label, question_answering, regression, tagging
from pipeline.judge.kinds.kind import Kind, Predictions

__all__ = ["KINDS", "Kind", "Predictions"]

KINDS: dict[str, Kind] = {
    "classification": classification,
    "multi_label": multi_label,
    "regression": regression,
    "tagging": tagging,
    "question_answering": question_answering,
    "generation": generation,
}
