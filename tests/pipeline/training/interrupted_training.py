"""A training that ends as many do: SIGTERM first, and after its restart SIGKILL. Run as a program, it does so.

On its way it accumulates, drops out, averages its weights, is validated, and rolls back a loss spike.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.backend import select_backend
from pipeline.errors import Interrupted
from pipeline.progress import SilentProgress

STEPS = 70
TERMINATED_AT, SPIKE, KILLED_AT = 13, range(43, 47), 67  # data steps; after the rollback, the last is update 57


class Reporter(SilentProgress):
    def say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()  # nothing is flushed by a kill


def make_training(precision: str):
    import keras
    from tiny_models import Training

    keras.config.set_dtype_policy(precision)
    return Training(dropout=0.3, steps=STEPS, ema_decay=0.9)


def run_training(training, folder: Path, batches):
    """Train to the end, or from what `folder` holds on; a checkpoint with every report."""
    from odd_batches import SPIKE_THRESHOLD, spiky

    from pipeline.training.checkpoint import Checkpoints
    from pipeline.training.loop import Evaluation, Learner, Trainer, Watch

    checkpoints = Checkpoints(folder / "checkpoints", {"training": "interrupted"}, keep=2, say=Reporter().say)
    learner = Learner(training.model, training.optimizer, training.stepper)
    watch = Watch(1e-9, Evaluation(batches.in_order, every=25), spike_threshold=SPIKE_THRESHOLD)
    trainer = Trainer(learner, checkpoints, folder / "logs" / "metrics.jsonl", Reporter(), watch)
    training.restart()
    try:
        return trainer.train(spiky(batches, SPIKE), STEPS)
    finally:
        checkpoints.wait()


@dataclass
class Ending:
    """Ends the training when the batch of a data step is made, which is while the one before it trains."""

    batches: object
    step: int
    end: Callable[[], None]

    def batch(self, step: int):
        if step == self.step:
            self.end()
        return self.batches.batch(step)

    def in_order(self):
        return self.batches.in_order()


def main(folder: Path, precision: str) -> None:
    select_backend(os.environ["KERAS_BACKEND"])
    from tiny_models import make_batches

    training, batches = make_training(precision), make_batches(folder / "corpus")
    try:
        run_training(training, folder, Ending(batches, TERMINATED_AT, partial(os.kill, os.getpid(), signal.SIGTERM)))
    except Interrupted as interruption:
        Reporter().say(f"Interrupted: {interruption}")
    run_training(training, folder, Ending(batches, KILLED_AT, partial(os.kill, os.getpid(), signal.SIGKILL)))


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    main(Path(sys.argv[1]), sys.argv[2])
