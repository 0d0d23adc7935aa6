"""The same fine-tuning from several seeds: the best by validation is kept, and how far they lie apart is told.

Until the last is done, each has a folder `seeds/SEED`, checkpoints included; so a killed step goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pipeline.progress import Progress
from pipeline.store.files import write_whole
from pipeline.training.processes import from_first, process_id

RESULT = "result.json"


class Result(Protocol):
    """What one fine-tuning returns: a dataclass."""

    @property
    def validation_metric(self) -> float:
        """The validation by the task's metric; more is better."""


R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Seeds(Generic[R]):
    """The results of all seeds.

    Attributes:
        results: dict. Seed -> its result.
    """

    results: Mapping[int, R]

    @property
    def metrics(self) -> dict[int, float]:
        """The validation metric of every seed."""
        return {seed: result.validation_metric for seed, result in self.results.items()}

    @property
    def best(self) -> int:
        """The seed with the best validation, the first of equal ones."""
        return max(self.metrics, key=self.metrics.__getitem__)

    @property
    def mean(self) -> float:
        """Mean of the metrics."""
        return statistics.fmean(self.metrics.values())

    @property
    def spread(self) -> float:
        """Sample standard deviation of the metrics; 0 of one."""
        return statistics.stdev(self.metrics.values()) if len(self.results) > 1 else 0.0


def over_seeds(
    seeds: Sequence[int],
    out: Path,
    progress: Progress,
    train: Callable[[int, Path, Progress], R],
    read: Callable[..., R],
) -> Seeds[R]:
    """Train from every seed, and leave in `out` what the best one wrote, with the logs of the others.

    Args:
        seeds: sequence of int.
        out: Path. The step's folder.
        progress: Progress. The curves are those of the first seed.
        train: callable. Trains from a seed into a folder and returns the result, of which `asdict` is JSON.
        read: callable. Returns the result from these fields.
    """
    results = {}
    for number, seed in enumerate(seeds):
        folder = out / "seeds" / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / RESULT
        if from_first([file.exists()])[0]:
            results[seed] = read(**json.loads(file.read_text()))
            continue
        progress.say(f"seed {seed}, {number + 1} of {len(seeds)}")
        results[seed] = train(seed, folder, _Uncharted(progress) if number else progress)
        if process_id() == 0:
            write_whole(file, json.dumps(asdict(results[seed])))  # type: ignore[call-overload]
    found = Seeds(results)
    told = ", ".join(f"{seed}: {value:.4f}" for seed, value in found.metrics.items())
    progress.say(f"seeds {told}; mean {found.mean:.4f}, spread {found.spread:.4f}; seed {found.best} is kept")
    if process_id() == 0:
        _gather(out, found.best, seeds)
    return found


def _gather(out: Path, best: int, seeds: Sequence[int]) -> None:
    """Move what is kept into `out`; a second call goes on where a killed one stopped."""
    for seed in seeds:
        folder = out / "seeds" / str(seed)
        for source in sorted(folder.iterdir()):
            if seed == best and source.name != RESULT:
                _move(source, out / source.name)
            elif source.name == "logs":
                _move(source, out / "seed-logs" / str(seed))
    shutil.rmtree(out / "seeds")


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    source.replace(target)


class _Uncharted:
    """Another's progress without its curves, which a second training would draw over the first."""

    def __init__(self, progress: Progress) -> None:
        self.update, self.say = progress.update, progress.say

    def track(self, step: int, figures: Mapping[str, Any]) -> None:
        """Ignore the figures."""
