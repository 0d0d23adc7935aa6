"""A training of the real model at real shapes on random tokens: for measuring, without a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import keras

from models.objectives import token_prediction
from models.size import Dimensions
from pipeline.backbone import build_language_model
from pipeline.config import Pretrain
from pipeline.targets import embedding_rows
from pipeline.training.batches import Batch, BatchShape
from pipeline.training.batches.objective import synthetic_batch
from pipeline.training.optimizer import make_optimizer
from pipeline.training.precision import dtype_policy, prepare
from pipeline.training.steppers import Stepper, make_stepper


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        dimensions: Dimensions. Of the model.
        config: Pretrain. Optimizer and objective; its batch size is not used.
        vocabulary_size: int. Tokens of the tokenizer.
        sequence_length: int. Tokens in a row.
        rows: int. Of one update, in one micro-batch.
    """

    dimensions: Dimensions
    config: Pretrain
    vocabulary_size: int
    sequence_length: int
    rows: int

    def start(self, precision: str) -> tuple[Stepper, Batch]:
        """Return a stepper of a fresh model in a precision, and a batch to update it with.

        Keras's dtype policy stays changed.
        """
        keras.config.set_dtype_policy(dtype_policy(precision))
        rows = embedding_rows(self.dimensions.architecture, self.config, self.vocabulary_size, self.sequence_length)
        model = build_language_model(self.dimensions, rows, dropout=0.0)
        prepare(model, precision)
        optimizer = make_optimizer(self.config, self.dimensions.learning_rate, 1000, model)
        stepper = make_stepper(model, optimizer, partial(token_prediction, z_loss=self.config.z_loss))
        batch = synthetic_batch(
            self.dimensions.architecture,
            self.config,
            BatchShape.of(self.rows, None),
            self.vocabulary_size,
            self.sequence_length,
        )
        return stepper, batch
