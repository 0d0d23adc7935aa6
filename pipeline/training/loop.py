"""The training loop that pretraining and fine-tuning share.

The order on start: 1. variables as built or as another training left them, 2. the newest sound checkpoint of this very
run, if any, 3. the evaluation that a kill may have prevented, 4. compile and train from there. The batch is a pure
function of the step, so nothing else needs restoring, and no batch before it is made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.progress import Progress
from pipeline.training.batches import Batches
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.learner import Learner
from pipeline.training.position import Position
from pipeline.training.processes import from_first, process_id
from pipeline.training.session import Session, Watch
from pipeline.training.watch.evaluation import Evaluation, evaluate
from pipeline.training.watch.failure import BAD_BATCH
from pipeline.training.watch.interruption import Standby, stop_on_sigterm
from pipeline.training.watch.log import MetricsLog
from pipeline.training.watch.meter import Cost
from pipeline.training.watch.reporter import Reporter

__all__ = ["Cost", "Evaluation", "Learner", "Trainer", "TrainingResult", "Watch", "evaluate"]


@dataclass(frozen=True)
class TrainingResult:
    """How training went; `seconds` leaves out compilation and adds up over restarts.

    `validation` has `loss`, `accuracy` and the metric, if any, of the weights that are kept: those after `kept_step`
    updates; None when nothing was evaluated.
    """

    steps: int
    kept_step: int
    resumed_at: int
    seconds: float
    tokens_per_second: float
    loss: float
    accuracy: float
    validation: dict[str, float] | None


class Trainer:
    """Trains up to a number of updates, with checkpoints, a metrics log and progress.

    Args:
        learner: Learner. Model, optimizer and stepper.
        checkpoints: Checkpoints. Where to resume from and save to.
        log: Path. One JSON line per report (step, loss, accuracy, gradient_norm, learning_rate, tokens_per_second,
            model_flops_utilization, seconds, eta_seconds) at step 1, at every tenth and at the last; one per validation
            and one per rollback.
        progress: Progress. Shows the same figures.
        watch: Watch. What is watched, and how often the state is saved.
    """

    def __init__(self, learner: Learner, checkpoints: Checkpoints, log: Path, progress: Progress, watch: Watch) -> None:
        self.learner = learner
        self.checkpoints = checkpoints
        self.reporter = Reporter(MetricsLog(log, writes=process_id() == 0), progress)
        self.watch = watch
        self.standby = Standby(checkpoints)

    def train(self, batches: Batches, total_steps: int, start: Position | None = None) -> TrainingResult:
        """Train up to `total_steps` updates, from the newest checkpoint when there is one.

        Args:
            batches: Batches. By data step.
            total_steps: int. Updates, those before `start` included.
            start: Position or None. Where training starts without a checkpoint: what `Checkpoints.load` returned.

        Raises:
            TrainingError: the loss is not a finite number, or it keeps spiking.
            Interrupted: SIGTERM arrived; a checkpoint of the last whole update was saved.
        """
        with stop_on_sigterm(self.standby.rescue) as stop:
            position = self._resume(start or Position())
            session = Session(self, batches, total_steps, position, stop)
            end = session.run()
        self.learner.stepper.write_back()
        kept_step = self._keep(end.step)
        return TrainingResult(
            steps=end.step,
            kept_step=kept_step,
            resumed_at=position.step,
            seconds=round(end.seconds, 2),
            tokens_per_second=float(round(end.tokens / end.seconds)) if end.seconds else 0.0,
            loss=float("nan") if end.loss is None else end.loss,
            accuracy=float("nan") if end.accuracy is None else end.accuracy,
            validation=session.validation if kept_step == end.step else session.validation_at(kept_step),
        )

    def _keep(self, last_step: int) -> int:
        """Go back to the weights of the best evaluation, if asked to; return the step of those that are kept."""
        if self.watch.evaluation is None or not self.watch.evaluation.keep_best:
            return last_step
        best = self.checkpoints.best()
        step = int(from_first([best.step if best else last_step])[0])
        if step != last_step:
            self.learner.load(self.checkpoints.path(step))
            self.reporter.progress.say(f"the best evaluation was at step {step}; its weights are kept")
        return step

    def _resume(self, start: Position) -> Position:
        position = self.learner.restore(self.checkpoints)
        if position.step:
            self.reporter.progress.say(f"continuing at step {position.step}")
        position = position if position.step else start
        self.reporter.log.go_back(position.step)
        if self.reporter.log.writes:
            (self.reporter.log.path.parent / BAD_BATCH).unlink(missing_ok=True)
        return position
