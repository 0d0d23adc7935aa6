"""The training loop that pretraining and fine-tuning share.

The order on start: 1. variables as built, 2. the newest sound checkpoint of this very run, if any, 3. compile,
4. train from there. The batch is a pure function of the step, so nothing else needs restoring.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import keras
import numpy as np

from models.objectives import Sums
from pipeline.errors import Interrupted, TrainingError
from pipeline.progress import Progress
from pipeline.training.batches import Batch, Batches
from pipeline.training.checkpoint import Checkpoints, Position
from pipeline.training.steppers import Stepper, Update

STEPS_PER_REPORT = 10


@dataclass(frozen=True)
class TrainingResult:
    """How training went; `seconds` leaves out compilation and adds up over restarts."""

    steps: int
    resumed_at: int
    seconds: float
    tokens_per_second: float
    loss: float
    accuracy: float


class Trainer:
    """Runs a stepper over batches up to a number of updates, with checkpoints, a metrics log and progress.

    Args:
        model: keras.Model. Built.
        optimizer: keras.optimizers.Optimizer. Built for the model.
        stepper: Stepper. Of the same model and optimizer.
        checkpoints: Checkpoints. Where to resume from and save to.
        checkpoint_seconds: float. Between two checkpoints.
        log: Path. One JSON line per report: step, loss, accuracy, tokens_per_second, seconds. Reports lie at step 1, at
            every tenth and at the last.
        progress: Progress. Shows the same figures.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        stepper: Stepper,
        checkpoints: Checkpoints,
        checkpoint_seconds: float,
        log: Path,
        progress: Progress,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.stepper = stepper
        self.checkpoints = checkpoints
        self.checkpoint_seconds = checkpoint_seconds
        self.log = log
        self.progress = progress

    def train(self, batches: Batches, total_steps: int) -> TrainingResult:
        """Train up to `total_steps` updates, from the newest checkpoint when there is one.

        Raises:
            TrainingError: the loss is not a finite number.
            Interrupted: SIGTERM arrived; a checkpoint of the last whole update was saved.
        """
        start = self._resume()
        meter = Meter(start)
        saved = time.monotonic()
        with stop_on_sigterm() as stop, prefetched(batches, start.step, total_steps) as stream:
            for step, batch in stream:
                meter.add(self.stepper.update(batch), int(np.count_nonzero(batch["segment_ids"])))
                done = step + 1
                if step == start.step:
                    meter.settle(timed=False)  # this update was compiled
                if done % STEPS_PER_REPORT == 0 or done in (1, total_steps):
                    self._report(done, total_steps, meter)
                    if time.monotonic() - saved > self.checkpoint_seconds and done < total_steps:
                        self._save(done, meter)
                        saved = time.monotonic()
                if stop.is_set() and done < total_steps:
                    meter.settle()
                    self._save(done, meter)
                    raise Interrupted(f"stopped by SIGTERM at step {done} of {total_steps}; its state is saved")
        self.stepper.write_back()
        return TrainingResult(
            steps=total_steps,
            resumed_at=start.step,
            seconds=round(meter.seconds, 2),
            tokens_per_second=round(meter.all_tokens / meter.all_seconds) if meter.all_seconds else 0.0,
            loss=meter.loss,
            accuracy=meter.accuracy,
        )

    def _resume(self) -> Position:
        start = self.checkpoints.restore(self.model, self.optimizer)
        self.stepper.read_in()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if start.step:
            self.progress.say(f"continuing at step {start.step}")
        kept = [line for line in _lines(self.log) if json.loads(line)["step"] <= start.step]
        self.log.write_text("".join(kept))
        return start

    def _report(self, done: int, total: int, meter: Meter) -> None:
        figures = meter.close()
        self._check_finite(done, figures["loss"])
        line = {"step": done, **figures, "seconds": round(meter.seconds, 3)}
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        del figures["accuracy"]
        self.progress.update(done, total, **figures)

    def _save(self, done: int, meter: Meter) -> None:
        self._check_finite(done, meter.sums.loss)
        self.stepper.write_back()
        self.checkpoints.save(Position(done, meter.seconds, tuple(meter.sums)), self.model, self.optimizer)
        meter.restart()

    def _check_finite(self, done: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} within the {STEPS_PER_REPORT} steps before step {done}; lower the learning "
                "rate or clip_norm, or train in float32 (runtime.precision)"
            )


class Meter:
    """The chronometer, and the sums of the updates since the last report.

    Reports lie at fixed steps and an open sum goes into the checkpoint, so an interrupted training logs the very
    figures of an uninterrupted one. Reading sums waits for the device, so it is done rarely.

    Attributes:
        seconds: float. In updates, over all restarts; compiling and saving left out.
        sums: Sums of float. Of the updates since the last report that have been read.
    """

    def __init__(self, start: Position) -> None:
        self.seconds = start.seconds
        self.sums = Sums(*start.sums)
        self.loss = self.accuracy = float("nan")
        self.all_tokens = self.tokens = 0
        self.all_seconds = self.open_seconds = 0.0
        self.restart()

    def restart(self) -> None:
        """Leave out the time since the last reading."""
        self.pending: list[Update] = []
        self.pending_tokens = 0
        self.started = time.monotonic()

    def add(self, update: Update, tokens: int) -> None:
        """Take in one update."""
        self.pending.append(update)
        self.pending_tokens += tokens

    def settle(self, timed: bool = True) -> None:
        """Wait for the updates taken in and read them; `timed=False` leaves them out of speed and chronometer."""
        for new in self.pending:
            self.sums = Sums(*(total + float(value) for total, value in zip(self.sums, new[:3], strict=True)))
        if timed:
            self.tokens += self.pending_tokens
            self.open_seconds += time.monotonic() - self.started
            self.seconds += time.monotonic() - self.started
        self.restart()

    def close(self) -> dict[str, float]:
        """Return loss, accuracy and, when any update was timed, tokens per second since the last report."""
        self.settle()
        self.loss = self.sums.loss / max(self.sums.weight, 1.0)
        self.accuracy = self.sums.correct / max(self.sums.weight, 1.0)
        figures = {"loss": self.loss, "accuracy": self.accuracy}
        if self.tokens:
            figures["tokens_per_second"] = round(self.tokens / self.open_seconds)
        self.all_tokens += self.tokens
        self.all_seconds += self.open_seconds
        self.sums, self.tokens, self.open_seconds = Sums(0.0, 0.0, 0.0), 0, 0.0
        return figures


def evaluate(stepper: Stepper, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the mean loss and the accuracy over all batches, weighted by valid items."""
    sums = [stepper.evaluate(batch) for batch in batches]
    loss, weight, correct = (sum(float(getattr(s, name)) for s in sums) for name in Sums._fields)
    return {"loss": loss / weight, "accuracy": correct / weight}


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


@contextmanager
def stop_on_sigterm() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets; outside the main thread, where Python handles no signals, it is never set."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_: int, __: FrameType | None) -> None:
        stop.set()

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, previous)


def _lines(path: Path) -> list[str]:
    """Return the whole lines of a log; a killed process may have left a part of one."""
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
