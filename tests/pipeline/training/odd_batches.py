"""Batches of another's, changed: easy ones, whose loss falls fast, and bad ones among them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np

from pipeline.training.batches import Batch, Batches

SPIKE_THRESHOLD = 1.2  # robust deviations: in so short a training they are those of the falling loss itself


@dataclass
class Changed:
    """Makes the batches of some data steps bad, and keeps which were asked for."""

    batches: Batches
    change: Callable[[Batch], Batch] = dict
    steps: Collection[int] = ()
    asked: list[int] = field(default_factory=list)

    def batch(self, step: int) -> Batch:
        self.asked.append(step)
        batch = self.batches.batch(step)
        return self.change(batch) if step in self.steps else batch

    def describe(self, step: int) -> list[dict]:
        return [{"row": step, "documents": [step + 1]}]


def constant(batch: Batch, token: int = 5) -> Batch:
    return batch | {"targets": np.full_like(batch["targets"], token)}


def unlearnable(batch: Batch) -> Batch:
    return constant(batch, token=0)


def not_a_number(batch: Batch) -> Batch:
    return batch | {"weights": batch["weights"] * np.float32("nan")}


def spiky(batches: Batches, steps: Collection[int]) -> Changed:
    """Return easy batches that spike at some data steps."""
    return Changed(Changed(batches, constant, range(10**9)), unlearnable, steps)
