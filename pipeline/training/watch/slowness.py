"""Updates that take far longer than the others: a busy machine, a throttled device, a slow disk."""

from __future__ import annotations

import statistics
from collections import deque

SLOW = 3.0  # times the median
LEAST_WINDOWS = 5
SILENCE = 20  # windows after a sentence without another


class SlowUpdates:
    """Says once when updates have become slow, and not again until they have been normal for a while."""

    def __init__(self) -> None:
        self._paces: deque[float] = deque(maxlen=50)
        self._since_told = SILENCE
        self._slow = False

    def judge(self, last_update: int, updates: int, seconds_per_update: float) -> str | None:
        """Return a sentence when the window that ends with `last_update` is the first of a slow spell, else None."""
        usual = statistics.median(self._paces) if len(self._paces) >= LEAST_WINDOWS else None
        self._paces.append(seconds_per_update)
        self._since_told += 1
        before, self._slow = self._slow, usual is not None and seconds_per_update > SLOW * usual
        if not self._slow or before or self._since_told <= SILENCE or usual is None:
            return None
        self._since_told = 0
        return (
            f"updates {last_update - updates + 1} to {last_update} took {seconds_per_update:.3g} s each, "
            f"{seconds_per_update / usual:.1f} times the usual {usual:.3g} s; look for what else runs on this machine"
        )
