"""Learning rates as functions of the update: a linear warm-up, a plateau, and a decay to what is left at the end."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from pipeline.config import Optimization
from pipeline.errors import RecipeError


@keras.saving.register_keras_serializable(package="tradewind")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Warm-up from 0, not included, to the peak; the peak; then `shape` down to `final_fraction` of it, for ever.

    With `decay_start` at the end of the warm-up it is the usual cosine (Loshchilov 2016, arXiv 1608.03983) or linear
    schedule; later, it is warm-up, stable, decay (Hu 2024, arXiv 2404.06395). Steps are counted in whole numbers and
    only their quotients are rounded, so the rate is good to float32 at step 10 and at step 100 million alike.

    Args:
        peak: float. The largest learning rate.
        warmup_steps: int. Updates below the peak at the start.
        decay_start: int. First update of the decay, which has the peak.
        total_steps: int. The step, counted from `first_step`, from which the final rate holds.
        final_fraction: float. Share of the peak that is left.
        shape: str. `cosine`, `linear` or `constant`.
        first_step: int. Updates that the optimizer has made before, in an earlier training.
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        decay_start: int,
        total_steps: int,
        final_fraction: float,
        shape: str,
        first_step: int = 0,
    ) -> None:
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.decay_start = decay_start
        self.total_steps = total_steps
        self.final_fraction = final_fraction
        self.shape = shape
        self.first_step = first_step

    def __call__(self, step: Any) -> Any:
        """Return the learning rate, a float32 scalar, of the update that `step` updates precede."""
        step = ops.cast(step, "int32") - self.first_step
        risen = _share(step + 1, self.warmup_steps + 1)
        remaining = _share(self.total_steps - step, self.total_steps - self.decay_start)
        if self.shape == "constant":
            return self.peak * risen
        # The square of a sine is the cosine schedule without its difference of near-equal numbers.
        left = remaining if self.shape == "linear" else ops.square(ops.sin(math.pi / 2 * remaining))
        return self.peak * risen * (self.final_fraction + (1 - self.final_fraction) * left)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "decay_start": self.decay_start,
            "total_steps": self.total_steps,
            "final_fraction": self.final_fraction,
            "shape": self.shape,
            "first_step": self.first_step,
        }


def make_schedule(config: Optimization, peak: float, total_steps: int, first_step: int = 0) -> WarmupDecay:
    """Return the schedule of a recipe.

    Raises:
        RecipeError: `warmup_steps` leaves no room for the decay.
    """
    warmup = warmup_steps(config, total_steps)
    decay_start = decay_starts(config, total_steps)
    return WarmupDecay(
        peak=peak,
        warmup_steps=warmup,
        decay_start=warmup if decay_start is None else decay_start,
        total_steps=total_steps,
        final_fraction=config.final_fraction,
        shape="linear" if config.schedule == "warmup_stable_decay" else config.schedule,
        first_step=first_step,
    )


def decay_starts(config: Optimization, total_steps: int) -> int | None:
    """Return the first update of the decay of `warmup_stable_decay`, and None for schedules without a stable phase.

    Before it, and given `warmup_steps`, the rate does not depend on `total_steps`: a checkpoint of this step can be
    trained on as part of a longer training.

    Raises:
        RecipeError: `warmup_steps` leaves no room for the decay.
    """
    if config.schedule != "warmup_stable_decay":
        return None
    return max(warmup_steps(config, total_steps), total_steps - round(config.decay_fraction * total_steps))


def warmup_steps(config: Optimization, total_steps: int) -> int:
    """Return how many updates lie below the peak at the start.

    Raises:
        RecipeError: `warmup_steps` leaves no room for the decay.
    """
    if config.warmup_steps is None:
        return round(config.warmup_fraction * total_steps)
    decay = round(config.decay_fraction * total_steps) if config.schedule == "warmup_stable_decay" else 0
    if config.warmup_steps + decay > total_steps:
        raise RecipeError(
            f"warmup_steps is {config.warmup_steps} and the decay takes {decay} updates, but the training has only "
            f"{total_steps}; make warmup_steps at most {total_steps - decay}, or leave it out for warmup_fraction"
        )
    return config.warmup_steps


def _share(part: Any, whole: int) -> Any:
    """Return part / whole between 0 and 1, in float32 from integers; a whole of nothing falls from 1 to 0 at once."""
    whole = max(whole, 1)
    return ops.cast(ops.clip(part, 0, whole), "float32") / whole
