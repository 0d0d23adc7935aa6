"""A training put together from a recipe: the same parts for pretraining and fine-tuning."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import keras

from models.parallel import MeshShape
from pipeline.config import Optimization, Runtime
from pipeline.progress import Progress
from pipeline.training.batches import BatchShape
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.layer_rates import Share
from pipeline.training.loop import Cost, Evaluation, Learner, Trainer, Watch
from pipeline.training.mesh import bring_home
from pipeline.training.optimizer import make_optimizer, use_averages
from pipeline.training.precision import dtype_policy, finish, prepare
from pipeline.training.profile import TraceProfiler
from pipeline.training.schedules import decay_starts
from pipeline.training.steppers import Objective, make_stepper


def start_keras(precision: str, seed: int) -> None:
    """Make the models that are built from now on compute in a precision, and start from a seed."""
    keras.config.set_dtype_policy(dtype_policy(precision))
    with _without_tensorflow():
        keras.utils.set_random_seed(seed)


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Let Keras find no TensorFlow unless it runs on it: it would import it, for seconds, to seed what nobody asks."""
    if "tensorflow" in sys.modules or keras.backend.backend() == "tensorflow":
        yield
        return
    sys.modules["tensorflow"] = None  # type: ignore[assignment] # an import of it fails, as if it were not installed
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


def make_learner(
    model: keras.Model,
    config: Optimization,
    learning_rate: float,
    total_steps: int,
    objective: Objective,
    precision: str,
    mesh: MeshShape | None = None,
    gather: Literal["update", "micro_batch"] = "update",
    shares: Sequence[Share] = (),
) -> Learner:
    """Return the built model with its optimizer and stepper.

    Args:
        model: keras.Model. Built, with the weights that training starts from.
        config: Optimization. Of the recipe.
        learning_rate: float. The peak.
        total_steps: int. Updates.
        objective: Objective. What is minimised.
        precision: str. The recipe's, no `auto`.
        mesh: MeshShape or None. Of the devices that the model was built on; None: one.
        gather: str. The recipe's `runtime.fsdp_gather`.
        shares: sequence of Share. See `make_optimizer`.
    """
    prepare(model, precision)
    optimizer = make_optimizer(config, learning_rate, total_steps, model, shares=shares)
    return Learner(model, optimizer, make_stepper(model, optimizer, objective, mesh, gather))


def make_trainer(
    learner: Learner,
    identity: dict[str, Any],
    config: Optimization,
    runtime: Runtime,
    shape: BatchShape,
    total_steps: int,
    out: Path,
    progress: Progress,
    evaluation: Evaluation | None,
    spike_threshold: float | None = None,
    cost: Cost | None = None,
) -> Trainer:
    """Return the trainer of a step: checkpoints in `out/checkpoints`, figures in `out/logs`.

    Args:
        learner: Learner. What is trained.
        identity: dict. What a checkpoint must agree on, beside what all trainings name.
        config: Optimization. Of the recipe.
        runtime: Runtime. Of the recipe.
        shape: BatchShape. Rows per update and per forward pass.
        total_steps: int. Updates.
        out: Path. The step's folder.
        progress: Progress. Told what happens.
        evaluation: Evaluation. What is evaluated, and when.
        spike_threshold: float. See `Watch`.
        cost: Cost. See `Watch`.
    """
    identity = identity | {"backend": keras.backend.backend(), "steps": total_steps}
    identity |= {"global_batch_size": shape.global_batch_size}
    identity |= config.model_dump(include={"optimizer", "schedule", "ema_decay"})
    checkpoints = Checkpoints(
        out / "checkpoints",
        identity,
        runtime.checkpoints_kept,
        progress.say,
        stable_step=decay_starts(config, total_steps),
    )
    watch = Watch(
        checkpoint_seconds=runtime.checkpoint_seconds,
        evaluation=evaluation,
        spike_threshold=spike_threshold,
        cost=cost or Cost(),
        profiler=TraceProfiler(out / "logs" / "profile") if runtime.profile else None,
    )
    return Trainer(learner, checkpoints, out / "logs" / "metrics.jsonl", progress, watch)


def finish_learning(learner: Learner) -> None:
    """Leave in the model what is judged and saved: the averaged weights where they are kept, no float8 scales.

    Of several processes only the first has the weights afterwards.
    """
    use_averages(learner.optimizer)
    finish(learner.model)
    bring_home(learner.model)
