"""The validation loss, on the way and at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from models.objectives import Sums
from pipeline.training.batches import Batch
from pipeline.training.steppers import Stepper


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, and when.

    Attributes:
        batches: callable. Returns the validation batches, each time the same ones.
        every: int or None. Updates between two evaluations; None: only after the last.
    """

    batches: Callable[[], Iterable[Batch]]
    every: int | None = None

    def due(self, step: int, total: int) -> bool:
        """Return whether an evaluation follows the checkpoint of this step."""
        return step == total or bool(step and self.every and step % self.every == 0)


def evaluate(
    stepper: Stepper, batches: Iterable[Batch], after_batch: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Return the mean loss and the accuracy over all batches, weighted by valid items.

    Args:
        stepper: Stepper. Evaluates.
        batches: iterable of Batch. All of them count.
        after_batch: callable. May raise to break off.
    """
    sums = []
    for batch in batches:
        sums.append(Sums(*(float(value) for value in stepper.evaluate(batch))))
        after_batch()
    loss, weight, correct = (sum(values) for values in zip(*sums, strict=True))
    return {"loss": loss / weight, "accuracy": correct / weight}
