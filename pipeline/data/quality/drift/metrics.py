"""The ways in which rows may have moved, each with its limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config import Drift
from pipeline.data.quality.drift import shift
from pipeline.data.quality.drift.reference import Reference
from pipeline.errors import DriftError

FEWEST = 50  # distinct texts on either side; fewer say nothing about their source


@dataclass(frozen=True)
class Metric:
    """One way in which rows may have moved: how far, how far they may, and what that means."""

    name: str
    value: float
    limit: float
    key: str
    meaning: str

    @property
    def passed(self) -> bool:
        """Whether the rows moved no farther than they may."""
        return self.value <= self.limit

    @property
    def sentence(self) -> str:
        """What was observed, what was expected, and the key of the limit."""
        return (
            f"{self.name.replace('_', ' ')}: observed {self.value:.4f} ({self.meaning}), expected at most "
            f"{self.limit:g} ({self.key})"
        )


def described(task: str, before: Reference, now: Reference, found: Sequence[Metric]) -> dict[str, Any]:
    """Return a comparison as JSON, and as its page wants it."""
    return {
        "task": task,
        "rows": {"champion": before.rows, "now": now.rows},
        "metrics": [asdict(metric) | {"passed": metric.passed} for metric in found],
        "labels": {"champion": before.labels, "now": now.labels},
        "lengths": {"champion": before.lengths, "now": now.lengths},
    }


def require_enough(task: str, which: str, side: Reference, remedy: str) -> None:
    """Raise DriftError when there are too few different texts to say anything of their source."""
    if (found := shift.distinct_samples(side)) < FEWEST:
        raise DriftError(
            f"task {task}: {which} {found} texts that differ in the words they begin with; expected at least "
            f"{FEWEST} to compare. {remedy}"
        )


def answer_metric(before: Reference, now: Reference, settings: Drift) -> Metric:
    """Return how far the labels, or the numbers, have moved."""
    if before.numbers and now.numbers:
        value = shift.number_shift(before.numbers, now.numbers)
        meaning = "widest gap between the shares of answers up to a number"
    else:
        value = shift.label_shift(before.labels, now.labels)
        meaning = "share of the rows that would need another label to give the old shares"
    return Metric("label_shift", value, settings.max_label_shift, "data.drift.max_label_shift", meaning)


def text_metrics(before: Reference, now: Reference, settings: Drift) -> list[Metric]:
    """Return how far the texts have moved."""
    unknown = shift.unknown_words(before, now)
    return [
        Metric(
            "length_shift", shift.number_shift(before.lengths, now.lengths), settings.max_length_shift,
            "data.drift.max_length_shift", "widest gap between the shares of texts up to a length",
        ),
        Metric(
            "unknown_words", max(0.0, unknown - before.expected_unknown), settings.max_unknown_words,
            "data.drift.max_unknown_words",
            f"{unknown:.2%} of the words are unknown, of which {before.expected_unknown:.2%} were to be expected",
        ),
        Metric(
            "separability", shift.separability(before, now), settings.max_separability,
            "data.drift.max_separability",
            "how well a classifier tells new texts from old ones; 0.5 is chance, 1 always",
        ),
    ]  # fmt: skip
