"""The validation, on the way and at the end: its loss, and the metric that the task is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops

from pipeline.training.batches import Batch
from pipeline.training.steppers import Stepper


@dataclass(frozen=True)
class Metric:
    """A number that a task is judged by; more is better.

    It is computed from sums, so it is exact however the rows are dealt over micro-batches, devices and processes.

    Attributes:
        name: str. Such as `macro_f1`.
        of: callable. Returns it, of the objective's `counts` summed over all batches.
    """

    name: str
    of: Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, when, and what follows from it.

    Attributes:
        batches: callable. Returns the validation batches, each time the same ones.
        every: int or None. Updates between two evaluations; None: only after the last.
        metric: Metric or None. What tells the better of two evaluations; None: the loss.
        patience: int or None. Evaluations in a row without a better one after which training ends; None: it does not.
        keep_best: bool. Whether training ends with the weights of the best evaluation, rather than with the last ones.
    """

    batches: Callable[[], Iterable[Batch]]
    every: int | None = None
    metric: Metric | None = None
    patience: int | None = None
    keep_best: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What an evaluation tells, in order."""
        return ("loss", "accuracy", *([self.metric.name] if self.metric else []))

    def badness(self, validation: Mapping[str, float]) -> float:
        """Return the number that is lowest for the best evaluation."""
        return -validation[self.metric.name] if self.metric else validation["loss"]

    def exhausted(self, validations: Sequence[Mapping[str, float]]) -> bool:
        """Return whether training ends after these evaluations: a function of them alone, so that a resumed one agrees.

        The first of several equal ones is the best.
        """
        if self.patience is None or not validations:
            return False
        values = [self.badness(validation) for validation in validations]
        return len(values) - 1 - values.index(min(values)) >= self.patience

    def due(self, step: int, total: int) -> bool:
        """Return whether an evaluation follows the checkpoint of this step."""
        return step == total or bool(step and self.every and step % self.every == 0)


def evaluate(
    stepper: Stepper,
    batches: Iterable[Batch],
    after_batch: Callable[[], None] = lambda: None,
    metric: Metric | None = None,
) -> dict[str, float]:
    """Return the mean loss and the accuracy over all batches, weighted by valid items, and the metric.

    Args:
        stepper: Stepper. Evaluates.
        batches: iterable of Batch. All of them count.
        after_batch: callable. May raise to break off.
        metric: Metric or None. What else is told.
    """
    rounds = []
    for batch in batches:
        told = (value for value in stepper.evaluate(batch) if value is not None)
        rounds.append([np.asarray(ops.convert_to_numpy(value), np.float64) for value in told])
        after_batch()
    loss, weight, correct, *counts = (sum(values) for values in zip(*rounds, strict=True))
    found = {"loss": float(loss / weight), "accuracy": float(correct / weight)}
    return found | ({metric.name: metric.of(np.asarray(counts[0]))} if metric else {})
