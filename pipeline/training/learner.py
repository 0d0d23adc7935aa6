"""What learns: a model with its optimizer, and the stepper that updates both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras

from pipeline.training.checkpoint import Checkpoints
from pipeline.training.optimizer import learning_rate_at
from pipeline.training.position import Position
from pipeline.training.snapshot import Snapshot, take
from pipeline.training.steppers import Stepper


@dataclass(frozen=True)
class Learner:
    """A model under training.

    Attributes:
        model: keras.Model. Built.
        optimizer: keras.optimizers.Optimizer. Built for the model.
        stepper: Stepper. Of the same model and optimizer.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    stepper: Stepper

    @property
    def float16(self) -> bool:
        """Whether updates may overflow, which the optimizer's loss scale deals with."""
        return bool(self.model.dtype_policy.compute_dtype == "float16")

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of the update after `step` updates."""
        return learning_rate_at(self.optimizer, step)

    def snapshot(self, position: Position) -> Snapshot:
        """Copy the present state, which is that of `position`."""
        self.stepper.write_back()
        return take(position, self.model, self.optimizer)

    def load(self, checkpoint: Path) -> None:
        """Go to the state of one checkpoint; see `Checkpoints.load`."""
        Checkpoints.load(checkpoint, self.model, self.optimizer)
        self.stepper.read_in()

    def restore(self, checkpoints: Checkpoints, before: int | None = None) -> Position:
        """Go to the newest sound checkpoint, of a step before `before` if given; see `Checkpoints.restore`."""
        if before is not None:
            self.stepper.write_back()  # the variables may be of any age, and stay when there is no checkpoint
        position = checkpoints.restore(self.model, self.optimizer, before)
        self.stepper.read_in()
        return position
