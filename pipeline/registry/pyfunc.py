"""The published model as MLflow loads it: text in; out what its kind answers, a label or a text for instance.

MLflow stores this file itself (models from code) beside the bundle and a copy of `pipeline` and `models`, so that
nothing is pickled and `mlflow models serve` needs only the version's own requirements.
"""

from __future__ import annotations

from typing import Any

import mlflow.models
import mlflow.pyfunc
import pandas


class TextModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Answers texts."""

    def load_context(self, context: Any) -> None:
        """Load the bundle on the first Keras backend that is installed here, once its files are known to be whole.

        Raises IntegrityError: they are not, or TRADEWIND_VERIFY_KEY asks for a signature that they lack.
        """
        from pathlib import Path

        from pipeline.backend import select_backend
        from pipeline.bundle import Bundle
        from pipeline.config import Settings
        from pipeline.integrity import Keys, check_manifest

        folder, keys = Path(context.artifacts["bundle"]), Keys.of(Settings())
        check_manifest(folder, "the model")
        if keys.verify:
            keys.verify_signature(folder, "the model")
        select_backend("auto")
        self.bundle = Bundle.load(folder)

    def predict(self, model_input: pandas.DataFrame) -> pandas.DataFrame:
        """Return the answers to (rows, 1) texts, or (rows, 2) texts and second texts, in the signature's columns."""
        from pipeline.answer import answers_of
        from pipeline.registry.signature import row_of

        columns = [[str(text) for text in model_input.iloc[:, place]] for place in range(model_input.shape[1])]
        said = answers_of(self.bundle, columns[0], columns[1] if len(columns) > 1 else None, top=1)
        return pandas.DataFrame([row_of(self.bundle.kind, answer) for answer in said])


mlflow.models.set_model(TextModel())
