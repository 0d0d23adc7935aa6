import json
import os
import signal
import time

import numpy as np
import pytest
from odd_batches import SPIKE_THRESHOLD, Changed, not_a_number, spiky
from tiny_models import make_batches

from pipeline.errors import Interrupted, TrainingError
from pipeline.training import session
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.loop import Cost, Evaluation, Learner, Trainer, Watch, evaluate
from pipeline.training.position import Position
from pipeline.training.watch.interruption import Standby


class Recorder:
    """Stands for progress and profiler: keeps what it is told."""

    def __init__(self) -> None:
        self.updates: list[tuple[float, float, dict]] = []
        self.said: list[str] = []
        self.tracked: list[tuple[int, dict]] = []

    def update(self, done, total, **figures) -> None:
        self.updates.append((done, total, figures))

    def say(self, text: str) -> None:
        self.said.append(text)

    def track(self, step, figures) -> None:
        self.tracked.append((step, figures))


def make_trainer(training, folder, checkpoint_seconds: float = 1e9, **watch) -> tuple[Trainer, Recorder]:
    training.restart()
    recorder = Recorder()
    checkpoints = Checkpoints(folder / "checkpoints", {}, 2, recorder.say)
    learner = Learner(training.model, training.optimizer, training.stepper)
    watching = Watch(checkpoint_seconds, **watch)
    return Trainer(learner, checkpoints, folder / "logs" / "metrics.jsonl", recorder, watching), recorder


def read_log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]


def steps_on_disk(folder) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))


@pytest.fixture
def batches(tmp_path):
    return make_batches(tmp_path / "corpus")


def test_the_log_and_the_progress_tell_the_mean_of_the_steps_since_the_last_line(
    dropout_training, batches, tmp_path
) -> None:
    dropout_training.restart()
    told = [dropout_training.stepper.update(batches.batch(step)) for step in range(23)]
    cost = Cost(flops_per_token=6e3, peak=1e12)
    trainer, recorder = make_trainer(dropout_training, tmp_path, cost=cost)
    result = trainer.train(batches, 23)
    lines = read_log(tmp_path)
    assert [line["step"] for line in lines] == [1, 10, 20, 23]
    for line, part in zip(lines, (slice(0, 1), slice(1, 10), slice(10, 20), slice(20, 23)), strict=True):
        weight = sum(float(s.weight) for s in told[part])
        assert line["loss"] == pytest.approx(sum(float(s.loss) for s in told[part]) / weight, rel=1e-6)
        assert line["accuracy"] == pytest.approx(sum(float(s.correct) for s in told[part]) / weight, rel=1e-6)
        assert line["gradient_norm"] == pytest.approx(np.mean([float(s.gradient_norm) for s in told[part]]), rel=1e-6)
        assert line["learning_rate"] == pytest.approx(trainer.learner.learning_rate(line["step"] - 1))
    assert "tokens_per_second" not in lines[0]  # the first update compiles
    assert "eta_seconds" not in lines[0]
    for line in lines[1:]:
        assert line["model_flops_utilization"] == pytest.approx(6e3 * line["tokens_per_second"] / 1e12, abs=1e-4)
    assert lines[0]["seconds"] == 0.0
    assert lines[1]["eta_seconds"] >= lines[3]["eta_seconds"] == 0.0  # tiny updates may have less left than is shown
    assert (result.loss, result.accuracy, result.steps) == (lines[-1]["loss"], lines[-1]["accuracy"], 23)
    assert result.validation is None
    assert [done for done, _, _ in recorder.updates] == [1, 10, 20, 23]
    assert recorder.updates[-1][2]["loss"] == lines[-1]["loss"]
    assert [{"step": step, **figures} for step, figures in recorder.tracked] == lines
    assert not (tmp_path / "checkpoints").exists()


def test_a_loss_that_is_no_number_stops_the_training_and_names_its_batch(dropout_training, batches, tmp_path) -> None:
    trainer, _ = make_trainer(dropout_training, tmp_path, checkpoint_seconds=1e-9)
    bad = Changed(batches, not_a_number, {13})
    with pytest.raises(TrainingError, match=r"loss became nan at update 14; .*bad_batch\.json\. Lower learning_rate"):
        trainer.train(bad, 30)
    assert json.loads((tmp_path / "logs" / "bad_batch.json").read_text()) == {
        "update": 14,
        "data_step": 13,
        "loss": "nan",
        "rows": [{"row": 13, "documents": [14]}],
    }
    assert steps_on_disk(tmp_path) == [10]
    assert [line["step"] for line in read_log(tmp_path)] == [1, 10]
    trainer, _ = make_trainer(dropout_training, tmp_path)
    assert trainer.train(batches, 30).resumed_at == 10  # once the rows are mended
    assert not (tmp_path / "logs" / "bad_batch.json").exists()


def test_a_spike_is_rolled_back_and_its_data_skipped(dropout_training, batches, tmp_path) -> None:
    trainer, recorder = make_trainer(dropout_training, tmp_path, 1e-9, spike_threshold=SPIKE_THRESHOLD)
    changed = spiky(batches, range(43, 47))
    result = trainer.train(changed, 60)
    assert [step for step in changed.asked if step != 50] == [*range(50), *range(51, 70)]  # 50 was prefetched once more
    assert changed.asked[50:52] == [50, 50]
    lines = read_log(tmp_path)
    assert [line["step"] for line in lines] == [1, 10, 20, 30, 40, 40, 50, 60]
    rollback = lines[5]
    assert (rollback["rolled_back_from"], rollback["spike_update"], rollback["skipped"]) == (50, 44, [[40, 50]])
    (sentence,) = [said for said in recorder.said if "spiked" in said]
    assert sentence.endswith("at update 44; back to step 40, leaving out data steps 40 to 49")
    assert result.loss < rollback["spike_loss"] - 1
    assert max(line["loss"] for line in lines[6:]) < rollback["spike_loss"] - 1


def test_spikes_that_stay_end_the_training_with_advice(dropout_training, batches, tmp_path) -> None:
    trainer, recorder = make_trainer(dropout_training, tmp_path, 1e-9, spike_threshold=SPIKE_THRESHOLD)
    changed = spiky(batches, range(43, 1000))
    with pytest.raises(
        TrainingError, match=r"at update 41, after 3 rollbacks .*data steps left out: 40 to 69.*clip_norm"
    ):
        trainer.train(changed, 60)
    assert sum("back to step 40" in said for said in recorder.said) == 3
    trainer, recorder = make_trainer(dropout_training, tmp_path, 1e-9, spike_threshold=SPIKE_THRESHOLD)
    with pytest.raises(TrainingError, match="after 3 rollbacks"):  # a restart does not begin to count anew
        trainer.train(changed, 60)
    assert "continuing at step 40" in recorder.said


def test_a_spike_without_a_checkpoint_before_it_is_said_once_and_trained_through(
    dropout_training, batches, tmp_path
) -> None:
    trainer, recorder = make_trainer(dropout_training, tmp_path, spike_threshold=SPIKE_THRESHOLD)
    trainer.train(spiky(batches, range(43, 47)), 70)
    (sentence,) = [said for said in recorder.said if "spiked" in said]
    assert sentence.endswith("at update 44; there is no checkpoint from before it, so training goes on")
    assert [line["step"] for line in read_log(tmp_path)] == [1, *range(10, 80, 10)]


class Validation:
    """Validation batches that note which checkpoint was on the disk when they were asked for."""

    def __init__(self, batches, folder, interrupt_at: int | None = None) -> None:
        self.batches, self.folder, self.interrupt_at = batches, folder, interrupt_at
        self.after: list[int] = []

    def __call__(self):
        self.after.append(steps_on_disk(self.folder)[-1])
        for number, batch in enumerate(self.batches.in_order()):
            if self.after[-1] == self.interrupt_at and number == 1:
                raise KeyboardInterrupt
            yield batch


def test_evaluation_comes_after_the_checkpoint_and_a_killed_one_is_made_up_once(
    dropout_training, batches, tmp_path
) -> None:
    killed = Validation(batches, tmp_path, interrupt_at=15)
    trainer, _ = make_trainer(dropout_training, tmp_path, evaluation=Evaluation(killed, every=5))
    with pytest.raises(KeyboardInterrupt):
        trainer.train(batches, 22)
    assert killed.after == [5, 10, 15]
    again = Validation(batches, tmp_path)
    trainer, _ = make_trainer(dropout_training, tmp_path, evaluation=Evaluation(again, every=5))
    result = trainer.train(batches, 22)
    assert result.resumed_at == 15
    assert again.after == [15, 20, 22]
    lines = [line for line in read_log(tmp_path) if "validation_loss" in line]
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 22]
    assert result.validation == {"loss": lines[-1]["validation_loss"], "accuracy": lines[-1]["validation_accuracy"]}
    best = min(lines, key=lambda line: line["validation_loss"])
    assert trainer.checkpoints.best().step == best["step"]

    trainer, _ = make_trainer(dropout_training, tmp_path, evaluation=Evaluation(again, every=5))
    finished = trainer.train(batches, 22)
    assert again.after == [15, 20, 22]
    assert (finished.validation, finished.loss, finished.resumed_at) == (result.validation, result.loss, 22)


def test_validation_weighs_rows_and_not_batches(dropout_training, batches) -> None:
    dropout_training.restart()
    in_order = list(batches.in_order())
    assert in_order[-1]["weights"].sum() < in_order[0]["weights"].sum()
    sums = [dropout_training.stepper.evaluate(batch) for batch in in_order]
    result = evaluate(dropout_training.stepper, in_order)
    weight = sum(float(s.weight) for s in sums)
    assert result["loss"] == pytest.approx(sum(float(s.loss) for s in sums) / weight)
    assert result["accuracy"] == pytest.approx(sum(float(s.correct) for s in sums) / weight)


def test_sigterm_within_a_long_evaluation_stops_after_its_batch(dropout_training, batches, tmp_path) -> None:
    def terminated():
        for number, batch in enumerate(batches.in_order()):
            if number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            assert number < 2
            yield batch

    trainer, _ = make_trainer(dropout_training, tmp_path, evaluation=Evaluation(terminated))
    with pytest.raises(Interrupted, match="at step 7 of 7; its state is saved"):
        trainer.train(batches, 7)
    assert steps_on_disk(tmp_path) == [7]
    trainer, _ = make_trainer(dropout_training, tmp_path, evaluation=Evaluation(batches.in_order))
    result = trainer.train(batches, 7)
    assert (result.resumed_at, [line["step"] for line in read_log(tmp_path)]) == (7, [1, 7, 7])


def test_sigterm_within_a_long_update_saves_the_state_before_it(
    dropout_training, batches, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(session, "SECONDS_IN_FLIGHT", 0.0)  # as if every update were a long one
    monkeypatch.setattr(Standby, "LEAST_PACE", 0.0)
    monkeypatch.setattr(Standby, "LARGEST_SHARE", 1e9)
    dropout_training.restart()
    expected = [dropout_training.stepper.update(batches.batch(step)) and dropout_training.values() for step in range(4)]
    trainer, _ = make_trainer(dropout_training, tmp_path)
    update, seen = dropout_training.stepper.update, []

    def slow(batch):
        seen.append(batch)
        if len(seen) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            while not steps_on_disk(tmp_path):  # the update is not over before it is saved
                time.sleep(0.01)
        return update(batch)

    monkeypatch.setattr(dropout_training.stepper, "update", slow)
    taken = []
    save = trainer.checkpoints.submit
    monkeypatch.setattr(trainer.checkpoints, "submit", lambda snapshot: (taken.append(snapshot), save(snapshot))[1])
    with pytest.raises(Interrupted, match="at step 4 of 20"):
        trainer.train(batches, 20)
    assert [snapshot.position.step for snapshot in taken] == [3, 4]
    assert [len(snapshot.position.window) for snapshot in taken] == [2, 3]
    for snapshot, values in zip(taken, expected[2:], strict=True):
        for found, wanted in zip(snapshot.values.values(), values, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert steps_on_disk(tmp_path) == [3, 4]


def test_a_training_starts_where_another_one_was_stable(dropout_training, batches, tmp_path) -> None:
    trainer, _ = make_trainer(dropout_training, tmp_path / "first")
    trainer.checkpoints.stable_step = 13
    trainer.train(batches, 20)
    stable = trainer.checkpoints.stable()
    assert steps_on_disk(tmp_path / "first") == [13]
    trainer, _ = make_trainer(dropout_training, tmp_path / "second")
    start = Checkpoints.load(stable, dropout_training.model, dropout_training.optimizer)
    recorded = Changed(batches)
    result = trainer.train(recorded, 20, start)
    assert recorded.asked == list(range(13, 20))
    assert result.resumed_at == 13
    second = dropout_training.values()
    make_trainer(dropout_training, tmp_path / "third")[0].train(batches, 20)
    for found, wanted in zip(second, dropout_training.values(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_resuming_at_ten_million_makes_no_batch_before_it(dropout_training, batches, tmp_path) -> None:
    trainer, _ = make_trainer(dropout_training, tmp_path)
    position = Position(10_000_000, skipped=((3, 5),))
    trainer.checkpoints.save(position, dropout_training.model, dropout_training.optimizer)
    recorded = Changed(batches)
    assert trainer.train(recorded, 10_000_003).resumed_at == 10_000_000
    assert recorded.asked == [10_000_002, 10_000_003, 10_000_004]


def test_the_profiler_records_five_updates_after_ten(dropout_training, batches, tmp_path) -> None:
    events = []

    class Profiler:
        def start(self) -> None:
            events.append("start")

        def stop(self) -> None:
            events.append("stop")

    update = dropout_training.stepper.update
    trainer, _ = make_trainer(dropout_training, tmp_path, profiler=Profiler())
    dropout_training.stepper.update = lambda batch: events.append("update") or update(batch)
    try:
        trainer.train(batches, 20)
        assert events == [*["update"] * 10, "start", *["update"] * 5, "stop", *["update"] * 5]
        events.clear()
        trainer, _ = make_trainer(dropout_training, tmp_path, profiler=Profiler())
        trainer.train(batches, 12)
        assert events == [*["update"] * 10, "start", *["update"] * 2, "stop"]
    finally:
        del dropout_training.stepper.update
