"""The columns in which MLflow gives a model's answers, by the kind of its task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

EXAMPLE = "Fracture of left wrist"


def signature_of(export: Path) -> ModelSignature:
    """Return the signature of an exported bundle."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    kind = _kind(export)
    texts = Array(DataType.string)
    outputs = {
        "classification": [ColSpec("string", "label"), ColSpec("double", "confidence")],
        "multi_label": [ColSpec(texts, "labels")],
        "regression": [ColSpec("double", "value")],
        "tagging": [ColSpec(texts, "words"), ColSpec(texts, "tags")],
        "question_answering": [
            ColSpec("string", "answer", required=False),
            ColSpec("long", "start", required=False),
            ColSpec("long", "end", required=False),
            ColSpec("double", "confidence"),
        ],
        "generation": [ColSpec("string", "text"), ColSpec("double", "score"), ColSpec("boolean", "finished")],
    }
    asked = [ColSpec("string", "text"), ColSpec("string", "text_pair")]
    inputs = asked if kind == "question_answering" else [ColSpec("string")]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs[kind]))


def example_of(export: Path) -> Any:
    """Return an input that fits the signature."""
    if _kind(export) != "question_answering":
        return [EXAMPLE]
    import pandas

    return pandas.DataFrame({"text": [EXAMPLE], "text_pair": ["What is fractured?"]})


def _kind(export: Path) -> str:
    kind: str = json.loads((export / "bundle.json").read_text("utf-8"))["kind"]
    return kind


def row_of(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    """Return what a model says of a text in the columns of its signature."""
    if kind == "tagging":
        return {"words": [word["word"] for word in said["words"]], "tags": [word["tag"] for word in said["words"]]}
    return {name: value for name, value in said.items() if name not in ("top", "cleaned")}
