"""A training that ends as many do: SIGTERM first, and after its restart SIGKILL. Run as a program, it does so."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.backend import select_backend
from pipeline.errors import Interrupted
from pipeline.progress import SilentProgress

STEPS, TERMINATED_AT, KILLED_AT = 40, 13, 27


class Reporter(SilentProgress):
    def say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()  # nothing is flushed by a kill


def run_training(training, folder: Path, batches):
    """Train to the end, or from what `folder` holds on; a checkpoint with every report."""
    from pipeline.training.checkpoint import Checkpoints
    from pipeline.training.loop import Trainer

    checkpoints = Checkpoints(folder / "checkpoints", {"training": "interrupted"}, keep=2, say=Reporter().say)
    log = folder / "logs" / "metrics.jsonl"
    trainer = Trainer(training.model, training.optimizer, training.stepper, checkpoints, 1e-9, log, Reporter())
    training.restart()
    return trainer.train(batches, STEPS)


@dataclass
class SignallingBatches:
    """Sends this process a signal when the batch of a step is made, which is while the one before it trains."""

    batches: object
    step: int
    number: int

    def batch(self, step: int):
        if step == self.step:
            os.kill(os.getpid(), self.number)
        return self.batches.batch(step)


def main(folder: Path) -> None:
    select_backend(os.environ["KERAS_BACKEND"])
    from tiny_models import Training, make_batches

    training, batches = Training(dropout=0.3), make_batches(folder / "corpus")
    try:
        run_training(training, folder, SignallingBatches(batches, TERMINATED_AT, signal.SIGTERM))
    except Interrupted as interruption:
        Reporter().say(f"Interrupted: {interruption}")
    run_training(training, folder, SignallingBatches(batches, KILLED_AT, signal.SIGKILL))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(Path(sys.argv[1]))
