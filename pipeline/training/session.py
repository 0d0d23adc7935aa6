"""One process's part of a training: from where it starts, or resumes, to the end or to whatever stops it.

The order after an update: report, roll back after a spike, save, stop when asked to, evaluate. So nothing is saved that
was not found sound, and an evaluation of hours endangers no update.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import Interrupted
from pipeline.training.batches import Batch, Batches
from pipeline.training.position import Position
from pipeline.training.prefetch import Unskipped, prefetched
from pipeline.training.processes import Agreement, from_first
from pipeline.training.watch.evaluation import Evaluation, evaluate
from pipeline.training.watch.failure import bad_number, describe_rollback, endless_spikes
from pipeline.training.watch.meter import Cost, Meter
from pipeline.training.watch.slowness import SlowUpdates
from pipeline.training.watch.spikes import Spike, find_bad, find_spike

if TYPE_CHECKING:
    from pipeline.training.loop import Trainer

STEPS_PER_REPORT = 10
SECONDS_IN_FLIGHT = 0.5  # of updates that a device may still have to do when SIGTERM arrives
MOST_ROLLBACKS = 3
PROFILE_AFTER, PROFILE_UPDATES = 10, 5


class Profiler(Protocol):
    """Records a trace."""

    def start(self) -> None:
        """Begin to record."""

    def stop(self) -> None:
        """End, and write the trace."""


@dataclass(frozen=True)
class Watch:
    """What is watched while training, and how often its state is saved.

    Attributes:
        checkpoint_seconds: float. Between two checkpoints; there is one before every evaluation too.
        evaluation: Evaluation or None. What is evaluated, and when.
        spike_threshold: float or None. Robust deviations from which losses are a spike; None: none are.
        cost: Cost. For the model FLOPs utilization.
        profiler: Profiler or None. Records five updates, after ten of this process.
    """

    checkpoint_seconds: float
    evaluation: Evaluation | None = None
    spike_threshold: float | None = None
    cost: Cost = field(default_factory=Cost)
    profiler: Profiler | None = None


class Session:
    """Trains in this process.

    Args:
        trainer: Trainer. What is trained, saved to, told, and watched.
        batches: Batches. By data step.
        total: int. Updates of the whole training.
        start: Position. Where this process starts.
        stop: threading.Event. Set when training shall stop.
    """

    def __init__(self, trainer: Trainer, batches: Batches, total: int, start: Position, stop: threading.Event) -> None:
        self.learner = trainer.learner
        self.checkpoints = trainer.checkpoints
        self.reporter = trainer.reporter
        self.watch = trainer.watch
        self.standby = trainer.standby
        self.batches = batches
        self.total = total
        self.start = start
        self.stop = stop
        self.meter = Meter(start, self.watch.cost)
        self.slow = SlowUpdates()
        self.agreement = Agreement()
        self.updates = 0
        self.profiling = False
        self.hopeless_until = 0
        self.saved_step, self.saved_at = start.step, time.monotonic()
        self.validation: dict[str, float] | None = None
        self.ended = False  # before `total`, because the evaluations grew no better

    def run(self) -> Position:
        """Train to the end and return where that is; `validation` is that of the end, if any."""
        position = self.start
        try:
            self._evaluate(position.step)  # unless the one before was killed right then, the log has it
            while position.step < self.total and not self.ended:  # once, and once more after every rollback
                position = self._train_from(position)
            self.checkpoints.wait()
        finally:
            self.standby.release()
            self.standby.attend()
            self._profile(end=True)
        return position

    def _train_from(self, position: Position) -> Position:
        """Train to the end, or to a spike; return the position there, or the earlier one that was gone back to."""
        self.meter.move(position)
        with prefetched(Unskipped(self.batches, position), position.step, self.total) as stream:
            for step, batch in stream:
                self.agreement.wish(self.stop.is_set(), self._save_is_overdue())
                self._check_stop(step)
                self._update(step, batch)
                done = step + 1
                if done % STEPS_PER_REPORT == 0 or done in (1, self.total):
                    earlier = self._report(done)
                    if earlier:
                        return earlier
                if self._save_is_due(done):
                    self._save(done)
                if done < self.total:
                    self._check_stop(done)
                self._evaluate(done)
                if self.ended:
                    return self.meter.position(done)
        return self.meter.position(self.total)

    def _update(self, step: int, batch: Batch) -> None:
        """Make one update, and wait for it when many, or long ones, are under way."""
        # Not with several processes: each would save the state before another update.
        if self.updates and not self.meter.pending and not self.agreement.several:
            self.standby.hold(self.meter.pace, lambda: self.learner.snapshot(self.meter.position(step)))
        self._profile()
        self.meter.add(self.learner.stepper.update(batch))
        self.updates += 1
        pace = self.meter.pace
        if pace is None or pace * len(self.meter.pending) > SECONDS_IN_FLIGHT:
            self.meter.settle(timed=self.updates > 1)  # the first one was compiled
        self.standby.release()

    def _report(self, done: int) -> Position | None:
        """Tell the figures since the last report; return where to go back to when they hold a spike."""
        self._settle(done)
        if self.watch.spike_threshold:
            new = len(self.meter.window)
            spike = find_spike(self.meter.losses(), new, done, self.watch.spike_threshold)
            if spike and (earlier := self._roll_back(spike, self.meter.position(done))):
                return earlier
        self.meter.progressed(done)
        updates = len(self.meter.window)
        figures = self.meter.close(done, self.total)
        figures["learning_rate"] = self.learner.learning_rate(done - 1)
        figures["seconds"] = round(self.meter.seconds, 3)
        self.reporter.report(done, self.total, figures)
        if "tokens_per_second" in figures and (sentence := self.slow.judge(done, updates, self.meter.paces[-1])):
            self.reporter.progress.say(sentence)
        return None

    def _roll_back(self, spike: Spike, position: Position) -> Position | None:
        """Go back to before the spike, to train on without the data in between; None when that is not possible.

        Raises:
            TrainingError: that has been done too often without getting past the trouble.
        """
        if position.rollbacks >= MOST_ROLLBACKS:
            raise endless_spikes(spike, position)
        checkpoint = self.learner.restore(self.checkpoints, before=spike.update)
        found = f"the loss spiked to {spike.loss:.4g} at update {spike.update}"
        if not checkpoint.step:
            if spike.update > self.hopeless_until:
                self.reporter.progress.say(f"{found}; there is no checkpoint from before it, so training goes on")
            self.hopeless_until = position.step + STEPS_PER_REPORT
            return None
        earlier = position.rolled_back_to(checkpoint)
        self.checkpoints.rewind(earlier)
        self.reporter.rolled_back(earlier.step, describe_rollback(spike, position, earlier))
        first, end = position.data_step(earlier.step), position.data_step(position.step)
        self.reporter.progress.say(f"{found}; back to step {earlier.step}, leaving out data steps {first} to {end - 1}")
        self.saved_step, self.saved_at = earlier.step, time.monotonic()
        return earlier

    def _settle(self, done: int) -> None:
        """Read every update so far. Raises TrainingError when a number of one is not finite."""
        self.meter.settle(timed=self.updates > 1)
        if bad := find_bad(self.meter.window, done, self.learner.float16):
            raise bad_number(bad, self.meter.position(done), self.batches, self.reporter.log.path.parent)

    def _save_is_due(self, done: int) -> bool:
        evaluation = self.watch.evaluation
        if done == self.checkpoints.stable_step or (evaluation and evaluation.due(done, self.total)):
            return True
        in_time = done % STEPS_PER_REPORT == 0 and done < self.total
        return in_time and (self.agreement.save if self.agreement.several else self._save_is_overdue())

    def _save_is_overdue(self) -> bool:
        return time.monotonic() - self.saved_at > self.watch.checkpoint_seconds

    def _save(self, done: int) -> None:
        self._settle(done)
        self.checkpoints.submit(self.learner.snapshot(self.meter.position(done)))
        self.saved_step, self.saved_at = done, time.monotonic()
        self.meter.restart()

    def _check_stop(self, done: int) -> None:
        """Raise Interrupted when training shall stop, once its state is saved."""
        if not (self.agreement.stop if self.agreement.several else self.stop.is_set()):
            return
        self.standby.attend()
        if done > self.saved_step:
            self._save(done)
        self.checkpoints.wait()
        raise Interrupted(f"stopped by SIGTERM at step {done} of {self.total}; its state is saved")

    def _evaluate(self, done: int) -> None:
        """Take the validation loss when it is due and the log has none; its checkpoint is on the disk by then."""
        evaluation = self.watch.evaluation
        if evaluation is None or not evaluation.due(done, self.total):
            return
        self.validation = self.validation_at(done)
        if self.validation is None:
            self.checkpoints.wait()

            def after_batch() -> None:
                if self.agreement.several:
                    self.agreement.wish(self.stop.is_set(), save=False)
                self._check_stop(done)

            self.validation = evaluate(self.learner.stepper, evaluation.batches(), after_batch, evaluation.metric)
            self.checkpoints.mark_best(done, evaluation.badness(self.validation))
            self.reporter.validated(done, self.validation)
        exhausted = evaluation.exhausted(list(self.reporter.log.validations().values()))
        if done < self.total and from_first([exhausted])[0]:
            self.ended = True
            self.reporter.progress.say(f"no better evaluation in the last {evaluation.patience}; ended at step {done}")
        self.meter.restart()

    def validation_at(self, step: int) -> dict[str, float] | None:
        """Return the validation after `step` updates as process 0 has logged it; None when it has not been made."""
        assert self.watch.evaluation is not None
        names = self.watch.evaluation.names
        known = self.reporter.log.validations().get(step)
        found, *values = from_first([bool(known), *((known or {}).get(name, 0.0) for name in names)])
        return dict(zip(names, values, strict=True)) if found else None

    def _profile(self, end: bool = False) -> None:
        """Start and stop the profiler around whole updates."""
        if self.watch.profiler is None:
            return
        if self.profiling and (end or self.updates == PROFILE_AFTER + PROFILE_UPDATES):
            self.meter.settle()
            self.profiling = False
            self.watch.profiler.stop()
        elif not end and not self.profiling and self.updates == PROFILE_AFTER:
            self.meter.settle()
            self.profiling = True
            self.watch.profiler.start()
