"""The columns in which MLflow gives a model's answers, by the kind of its task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def signature_of(export: Path) -> ModelSignature:
    """Return the signature of an exported bundle."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    kind = json.loads((export / "bundle.json").read_text("utf-8"))["kind"]
    texts = Array(DataType.string)
    outputs = {
        "classification": [ColSpec("string", "label"), ColSpec("double", "confidence")],
        "multi_label": [ColSpec(texts, "labels")],
        "regression": [ColSpec("double", "value")],
        "tagging": [ColSpec(texts, "words"), ColSpec(texts, "tags")],
        "generation": [ColSpec("string", "text"), ColSpec("double", "score"), ColSpec("boolean", "finished")],
    }
    return ModelSignature(inputs=Schema([ColSpec("string")]), outputs=Schema(outputs[kind]))


def row_of(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    """Return what a model says of a text in the columns of its signature."""
    if kind == "tagging":
        return {"words": [word["word"] for word in said["words"]], "tags": [word["tag"] for word in said["words"]]}
    return {name: value for name, value in said.items() if name != "top"}
