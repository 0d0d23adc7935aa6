"""Losses that tell of trouble: those that are no numbers, and spikes.

After a spike, restarting from before it and skipping the data that led to it helped in PaLM (Chowdhery 2022, arXiv
2204.02311, section 5.1): the same data from another state made no spike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.training.position import Figures

LEAST_HISTORY = 30  # updates before anything is called a spike
SUSTAINED = 3  # updates in a row above the threshold
EXTREME = 3.0  # times the threshold, where one update is enough
LEAST_SPREAD = 0.01  # of the median: losses that hardly vary make no spike of nothing
FLOAT16_PATIENCE = 5  # losses in a row that are not finite, before float16's loss scale is not the cure


class Spike(NamedTuple):
    """The first update of a spike.

    Attributes:
        update: int. Its number; the first update of a training is 1.
        loss: float. Its mean loss.
        deviations: float. How many robust standard deviations that lies above the losses before.
    """

    update: int
    loss: float
    deviations: float


class Bad(NamedTuple):
    """The first update with a number that is not finite.

    Attributes:
        update: int. Its number; the first update of a training is 1.
        what: str. `loss` or `gradient_norm`.
        value: float. Infinite or not a number.
    """

    update: int
    what: str
    value: float


def find_spike(losses: Sequence[float], new: int, last_update: int, threshold: float) -> Spike | None:
    """Return the first spike among the newest losses, as a pure function of them, so that a resumed training agrees.

    A loss is that of a spike when it and the ones after it lie `threshold` robust deviations (1.4826 times the median
    absolute deviation) above the median of the losses before, or when it alone lies three times as far.

    Args:
        losses: sequence of float. Mean losses of consecutive updates, oldest first.
        new: int. How many of them have not been judged yet; a spike may begin just before them.
        last_update: int. Number of the update of the last loss.
        threshold: float. In robust deviations.
    """
    first = last_update - len(losses) + 1
    numbered = [(update, loss) for update, loss in enumerate(losses, first) if math.isfinite(loss)]
    recent = min(len(numbered), new + SUSTAINED - 1)
    past, candidates = [loss for _, loss in numbered[: len(numbered) - recent]], numbered[len(numbered) - recent :]
    if len(past) < LEAST_HISTORY:
        return None
    median = statistics.median(past)
    spread = 1.4826 * statistics.median(abs(loss - median) for loss in past)
    deviations = [(loss - median) / max(spread, LEAST_SPREAD * abs(median), 1e-12) for _, loss in candidates]
    for index, height in enumerate(deviations):
        run = deviations[index : index + SUSTAINED]
        if height > EXTREME * threshold or (len(run) == SUSTAINED and min(run) > threshold):
            return Spike(*candidates[index], height)
    return None


def find_bad(window: Sequence[Figures], last_update: int, float16: bool) -> Bad | None:
    """Return the first update of `window` after which training cannot go on; None when there is none.

    Under float16 an overflowing update is one that the optimizer left out: its gradient norm says nothing, and a loss
    that is not finite counts only when it is one of several in a row.
    """
    first_update = last_update - len(window) + 1
    lost = [not math.isfinite(figures.loss) for figures in window]
    for index, figures in enumerate(window):
        if float16:
            run = lost[index : index + FLOAT16_PATIENCE]
            if len(run) == FLOAT16_PATIENCE and all(run):
                return Bad(first_update + index, "loss", figures.loss)
        elif lost[index]:
            return Bad(first_update + index, "loss", figures.loss)
        elif not math.isfinite(figures.gradient_norm):
            return Bad(first_update + index, "gradient_norm", figures.gradient_norm)
    return None
