"""The tracking of one step of a recipe, from its first figures to how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import Interrupted
from pipeline.progress import Progress
from pipeline.registry import Mlflow
from pipeline.tracking.background import Background
from pipeline.tracking.mlflow_run import MlflowRun
from pipeline.tracking.point import Sink, Status
from pipeline.tracking.tensorboard import TensorBoard

MEMORY = "mlflow_run"  # in the step's folder, while it is at work


@dataclass(frozen=True)
class Run:
    """What the training is called in MLflow.

    Attributes:
        mlflow: Mlflow. Where to; the registry's.
        experiment: str. The recipe's name.
        name: str. The node, such as `finetune[chapter]`.
        parameters: mapping. Recipe values, by dotted name.
    """

    mlflow: Mlflow
    experiment: str
    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class TrackedProgress:
    """Progress whose curves go to the sinks as well."""

    progress: Progress
    backgrounds: Sequence[Background]

    def update(self, done: float, total: float, **figures: float | str) -> None:
        """Pass the report on."""
        self.progress.update(done, total, **figures)

    def say(self, text: str) -> None:
        """Pass the sentence on."""
        self.progress.say(text)

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        """Give the figures to every sink."""
        self.progress.track(step, figures)
        for background in self.backgrounds:
            background.track(step, figures)


@contextmanager
def tracking(names: Sequence[str], out: Path, run: Run, progress: Progress) -> Iterator[TrackedProgress]:
    """Yield progress that also tracks the figures of a step, and tell the sinks in the end how the step ended.

    A step without figures leaves no trace.

    Args:
        names: sequence of str. `tensorboard`, `mlflow`; of the recipe's `runtime.tracking`.
        out: Path. The step's folder.
        run: Run. For MLflow.
        progress: Progress. Gets everything too, and is told why a tracking stopped.
    """
    sinks: dict[str, Callable[[], Sink]] = {
        "tensorboard": lambda: TensorBoard(out / "logs" / "tensorboard"),
        "mlflow": lambda: MlflowRun(run.mlflow, run.experiment, run.name, run.parameters, out / MEMORY),
    }
    backgrounds = [Background(sinks[name](), progress.say) for name in names]
    status: Status = "FAILED"
    try:
        yield TrackedProgress(progress, backgrounds)
        status = "FINISHED"
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        for background in backgrounds:
            background.close(status)
