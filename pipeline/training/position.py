"""Where a training stands, and which data the next update takes: all that a resumed training must know of its past."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

HISTORY = 128  # updates whose losses are remembered, for telling a spike from noise


class Figures(NamedTuple):
    """An `Update`, read from the device."""

    loss: float
    weight: float
    correct: float
    gradient_norm: float
    tokens: float

    @property
    def mean_loss(self) -> float:
        """Loss of a valid item; NaN without any."""
        return self.loss / self.weight if self.weight else float("nan")


@dataclass(frozen=True)
class Position:
    """Where training stands.

    Attributes:
        step: int. Updates done.
        seconds: float. In updates so far, over all restarts; compiling, evaluating and saving left out.
        tokens: int. Of the updates in `seconds`.
        loss: float or None. Of the last report; None before the first.
        accuracy: float or None. Of the last report.
        window: tuple of Figures. Of every update since the last report.
        history: tuple of float. Mean losses of the last updates up to that report.
        skipped: tuple of (first, end). Data steps left out after loss spikes, sorted and apart.
        rollbacks: int. Loss spikes rolled back since training last passed `trouble`.
        trouble: int. The furthest step at which a spike was seen.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    loss: float | None = None
    accuracy: float | None = None
    window: tuple[Figures, ...] = ()
    history: tuple[float, ...] = ()
    skipped: tuple[tuple[int, int], ...] = ()
    rollbacks: int = 0
    trouble: int = 0

    def data_step(self, step: int) -> int:
        """Return which data the update after `step` updates takes, without replaying any: skipped ranges are few."""
        for first, end in self.skipped:
            if step < first:
                break
            step += end - first
        return step

    def rolled_back_to(self, earlier: Position) -> Position:
        """Return the position to go on from when this one saw a spike: `earlier`, without the data in between."""
        unwanted = (self.data_step(earlier.step), self.data_step(self.step))
        return replace(
            earlier,
            seconds=self.seconds,
            tokens=self.tokens,
            skipped=_united([*self.skipped, unwanted]),
            rollbacks=self.rollbacks + 1,
            trouble=max(self.trouble, self.step),
        )


def _united(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the ranges sorted, with those that touch made one."""
    united: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if united and first <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((first, end))
    return tuple(united)
