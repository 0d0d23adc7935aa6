"""The `.keras` file: opens wherever Keras runs, on any of its backends."""

from __future__ import annotations

from pathlib import Path

import keras

from models.classifier import SegmentClassifier, SegmentRegressor, SpanClassifier, TokenClassifier
from models.language_models import LanguageModel

MODELS = {
    "classification": SegmentClassifier,
    "multi_label": SegmentClassifier,
    "regression": SegmentRegressor,
    "tagging": TokenClassifier,
    "question_answering": SpanClassifier,
    "generation": LanguageModel,
}


def open_model(file: Path, kind: str) -> keras.Model:
    """Return the model of a kind of task. Raises ValueError: the file is damaged or holds another model."""
    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    if not isinstance(model, MODELS[kind]):
        raise ValueError(f"{file.name} holds a {type(model).__name__}, not a {MODELS[kind].__name__}")
    return model
