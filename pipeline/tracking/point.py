"""What is tracked, and what takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]  # as MLflow calls them


@dataclass(frozen=True)
class Point:
    """The figures of one report.

    Attributes:
        step: int. Updates done.
        seconds: float. Unix time.
        figures: mapping of str to float. All finite.
    """

    step: int
    seconds: float
    figures: Mapping[str, float]


class Sink(Protocol):
    """Takes points; may take its time and may fail, since only `Background` calls it.

    Attributes:
        name: str. For people.
        interval: float. Seconds between two writes.
    """

    name: str
    interval: float

    def write(self, points: Sequence[Point]) -> None:
        """Take points, in their order; a step smaller than the one before means that training went back to it."""

    def close(self, status: Status, /) -> None:
        """Write what is left, and how training ended."""
