import json
import os
import signal
import threading

import numpy as np
import pytest
from tiny_models import make_batches

from pipeline.errors import TrainingError
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.loop import Trainer, evaluate, prefetched, stop_on_sigterm


class Recorder:
    def __init__(self) -> None:
        self.updates: list[tuple[float, float, dict]] = []

    def update(self, done, total, **figures) -> None:
        self.updates.append((done, total, figures))

    def say(self, text: str) -> None:
        pass


def make_trainer(training, folder, checkpoint_seconds: float = 1e9) -> tuple[Trainer, Recorder]:
    training.restart()
    recorder = Recorder()
    checkpoints = Checkpoints(folder / "checkpoints", {}, 2, recorder.say)
    log = folder / "metrics.jsonl"
    trainer = Trainer(
        training.model, training.optimizer, training.stepper, checkpoints, checkpoint_seconds, log, recorder
    )
    return trainer, recorder


def test_the_log_and_the_progress_tell_the_mean_of_the_steps_since_the_last_line(dropout_training, tmp_path) -> None:
    batches = make_batches(tmp_path / "corpus")
    dropout_training.restart()
    sums = [dropout_training.stepper.update(batches.batch(step)) for step in range(23)]
    trainer, recorder = make_trainer(dropout_training, tmp_path)
    result = trainer.train(batches, 23)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 10, 20, 23]
    for line, part in zip(lines, (slice(0, 1), slice(1, 10), slice(10, 20), slice(20, 23)), strict=True):
        weight = sum(float(s.weight) for s in sums[part])
        assert line["loss"] == pytest.approx(sum(float(s.loss) for s in sums[part]) / weight, rel=1e-6)
        assert line["accuracy"] == pytest.approx(sum(float(s.correct) for s in sums[part]) / weight, rel=1e-6)
    assert "tokens_per_second" not in lines[0]  # the first update compiles
    assert all(line["tokens_per_second"] > 0 for line in lines[1:])
    assert lines[0]["seconds"] == 0.0
    assert (result.loss, result.accuracy, result.steps) == (lines[-1]["loss"], lines[-1]["accuracy"], 23)
    assert [done for done, _, _ in recorder.updates] == [1, 10, 20, 23]
    assert recorder.updates[-1][2]["loss"] == lines[-1]["loss"]
    assert not (tmp_path / "checkpoints").exists()


def test_a_loss_that_is_no_number_stops_the_training_and_saves_nothing(dropout_training, tmp_path) -> None:
    batches = make_batches(tmp_path / "corpus")
    trainer, _ = make_trainer(dropout_training, tmp_path, checkpoint_seconds=1e-9)
    scale = dropout_training.model.norm.trainable_variables[0]
    scale.assign(np.full(scale.shape, np.nan, np.float32))
    with pytest.raises(TrainingError, match=r"loss became nan.*lower the learning rate"):
        trainer.train(batches, 20)
    assert not list(tmp_path.glob("checkpoints/*"))
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_validation_weighs_rows_and_not_batches(dropout_training, tmp_path) -> None:
    batches = make_batches(tmp_path / "corpus")
    dropout_training.restart()
    in_order = list(batches.in_order())
    assert in_order[-1]["weights"].sum() < in_order[0]["weights"].sum()
    sums = [dropout_training.stepper.evaluate(batch) for batch in in_order]
    result = evaluate(dropout_training.stepper, in_order)
    weight = sum(float(s.weight) for s in sums)
    assert result["loss"] == pytest.approx(sum(float(s.loss) for s in sums) / weight)
    assert result["accuracy"] == pytest.approx(sum(float(s.correct) for s in sums) / weight)


def test_batches_come_in_order_and_their_error_reaches_the_caller() -> None:
    class Numbers:
        def batch(self, step: int) -> int:
            if step == 7:
                raise OSError("shard is gone")
            return step * step

    with prefetched(Numbers(), 2, 6) as stream:
        assert list(stream) == [(2, 4), (3, 9), (4, 16), (5, 25)]
    with prefetched(Numbers(), 4, 4) as stream:
        assert list(stream) == []
    with prefetched(Numbers(), 5, 9) as stream:
        assert next(stream) == (5, 25)
        assert next(stream) == (6, 36)
        with pytest.raises(OSError, match="shard is gone"):
            next(stream)


def test_sigterm_is_heard_inside_and_given_back_outside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_training_outside_the_main_thread_does_without_the_signal() -> None:
    seen = []

    def work() -> None:
        with stop_on_sigterm() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
