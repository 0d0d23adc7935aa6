"""The published model as MLflow loads it: text in, label and confidence out.

MLflow stores this file itself (models from code) beside the bundle and a copy of `pipeline` and `models`, so that
nothing is pickled and `mlflow models serve` needs only the version's own requirements.
"""

from __future__ import annotations

from typing import Any

import mlflow.models
import mlflow.pyfunc
import pandas


class TextClassifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Answers texts with the most likely label."""

    def load_context(self, context: Any) -> None:
        """Load the bundle on the first Keras backend that is installed here."""
        from pathlib import Path

        from pipeline.backend import select_backend
        from pipeline.bundle import Bundle

        select_backend("auto")
        self.bundle = Bundle.load(Path(context.artifacts["bundle"]))

    def predict(self, model_input: pandas.DataFrame) -> pandas.DataFrame:
        """Return (rows, 2) `label` and `confidence` of (rows, 1) texts, as MLflow frames them by the signature."""
        probabilities = self.bundle.probabilities([str(text) for text in model_input.iloc[:, 0]])  # (rows, labels)
        best = probabilities.argmax(axis=1)
        return pandas.DataFrame(
            {
                "label": [self.bundle.labels[index] for index in best],
                "confidence": probabilities.max(axis=1).astype(float),
            }
        )


mlflow.models.set_model(TextClassifier())
