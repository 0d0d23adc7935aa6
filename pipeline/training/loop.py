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
from collections.abc import Iterator
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
from pipeline.training.steppers import Stepper

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
        log: Path. One JSON line per report: step, loss, accuracy, learning_rate, tokens_per_second, seconds.
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
        clock = Clock(start.seconds)
        window = Window()
        saved = time.monotonic()
        with stop_on_sigterm() as stop, prefetched(batches, start.step, total_steps) as stream:
            for step, batch in stream:
                window.add(self.stepper.update(batch), int(np.count_nonzero(batch["segment_ids"])))
                done = step + 1
                if done % STEPS_PER_REPORT == 0 or done in (total_steps, start.step + 1) or stop.is_set():
                    figures = window.close(clock, compiled=done == start.step + 1)
                    self._report(done, total_steps, figures, clock)
                    if stop.is_set() and done < total_steps:
                        self._save(Position(done, clock.seconds))
                        raise Interrupted(f"stopped by SIGTERM at step {done} of {total_steps}; its state is saved")
                    if time.monotonic() - saved > self.checkpoint_seconds and done < total_steps:
                        self._save(Position(done, clock.seconds))
                        saved = time.monotonic()
        self.stepper.write_back()
        return TrainingResult(
            steps=total_steps,
            resumed_at=start.step,
            seconds=round(clock.seconds, 2),
            tokens_per_second=round(window.all_tokens / window.all_seconds) if window.all_seconds else 0.0,
            loss=window.loss,
            accuracy=window.accuracy,
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

    def _report(self, done: int, total: int, figures: dict[str, float], clock: Clock) -> None:
        if not math.isfinite(figures["loss"]):
            raise TrainingError(
                f"the loss became {figures['loss']} between steps {done - STEPS_PER_REPORT} and {done}; lower the "
                "learning rate or clip_norm, or train in float32 (runtime.precision)"
            )
        line = {"step": done, **figures, "seconds": round(clock.seconds, 3)}
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.progress.update(done, total, loss=figures["loss"], tokens_per_second=figures["tokens_per_second"])

    def _save(self, position: Position) -> None:
        self.stepper.write_back()
        self.checkpoints.save(position, self.model, self.optimizer)


class Clock:
    """Seconds spent in updates, over all restarts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Window:
    """The sums of the updates since the last report; reading them waits for the device, so it is done rarely."""

    def __init__(self) -> None:
        self.all_tokens = 0
        self.all_seconds = 0.0
        self.loss = self.accuracy = float("nan")
        self._open()

    def _open(self) -> None:
        self.sums: list[Sums] = []
        self.tokens = 0
        self.started = time.monotonic()

    def add(self, sums: Sums, tokens: int) -> None:
        """Take in one update."""
        self.sums.append(sums)
        self.tokens += tokens

    def close(self, clock: Clock, compiled: bool) -> dict[str, float]:
        """Return loss, accuracy and tokens per second of the window, and open the next; compilation is not timed."""
        loss, weight, correct = (sum(float(getattr(s, name)) for s in self.sums) for name in Sums._fields)
        self.loss, self.accuracy = loss / max(weight, 1.0), correct / max(weight, 1.0)
        seconds = time.monotonic() - self.started
        rate = self.tokens / seconds
        if not compiled:
            clock.seconds += seconds
            self.all_tokens += self.tokens
            self.all_seconds += seconds
        self._open()
        return {"loss": self.loss, "accuracy": self.accuracy, "tokens_per_second": round(rate)}


def evaluate(stepper: Stepper, batches: list[Batch]) -> dict[str, float]:
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
