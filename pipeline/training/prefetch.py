"""Batches made ahead of the update that takes them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.training.batches import Batch, Batches
from pipeline.training.position import Position


@dataclass(frozen=True)
class Unskipped:
    """The batches of a training that leaves out the data of its loss spikes, by update number."""

    batches: Batches
    position: Position

    def batch(self, step: int) -> Batch:
        """Return the batch of the update after `step` updates."""
        return self.batches.batch(self.position.data_step(step))


@contextmanager
def prefetched(batches: Batches, start: int, end: int) -> Iterator[Iterator[tuple[int, Batch]]]:
    """Yield (step, batch) pairs, the next batch being made while the current one trains."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:

        def stream() -> Iterator[tuple[int, Batch]]:
            upcoming = pool.submit(batches.batch, start) if start < end else None
            for step in range(start, end):
                assert upcoming is not None
                batch = upcoming.result()
                upcoming = pool.submit(batches.batch, step + 1) if step + 1 < end else None
                yield step, batch

        yield stream()
