"""Training ends when evaluations grow no better, and with the best of them, whatever interrupts it."""

import json

import keras
import numpy as np
import pytest
from odd_batches import Changed, constant
from tiny_models import make_batches

from pipeline.progress import SilentProgress
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.loop import Evaluation, Learner, Trainer, Watch, evaluate
from pipeline.training.watch.evaluation import Metric

TOTAL, EVERY, TURN = 60, 5, 20
ACCURACY = Metric("squared_accuracy", lambda counts: float(counts[0] / counts[1]) ** 2)


class Broken(BaseException):
    """Stands for the end of the process, without paying for another one."""


class Ending(Changed):
    def batch(self, step: int):
        if step == TURN + 11:
            raise Broken
        return super().batch(step)


@pytest.fixture
def batches(tmp_path):
    """Batches whose answer is 5 until the turn and 6 from there on; 5 is what validation asks for."""
    corpus = make_batches(tmp_path / "corpus")
    turned = Changed(corpus, lambda batch: constant(batch, 6), range(TURN, 10**9))
    return Changed(turned, constant, range(TURN))


def validation(tmp_path):
    corpus = make_batches(tmp_path / "validation")
    return lambda: (constant(batch) for batch in corpus.in_order())


def run(training, folder, batches, tmp_path, **evaluation):
    training.restart()
    checkpoints = Checkpoints(folder / "checkpoints", {}, 1, SilentProgress().say)
    learner = Learner(training.model, training.optimizer, training.stepper)
    watch = Watch(1e9, Evaluation(validation(tmp_path), EVERY, **evaluation))
    trainer = Trainer(learner, checkpoints, folder / "logs" / "metrics.jsonl", SilentProgress(), watch)
    try:
        return trainer.train(batches, TOTAL)
    finally:
        checkpoints.wait()


def losses(folder) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}


def test_it_ends_after_so_many_evaluations_without_a_better_one(training, batches, tmp_path) -> None:
    result = run(training, tmp_path, batches, tmp_path, patience=2)
    found = losses(tmp_path)
    best = min(found, key=found.__getitem__)
    assert TURN <= best < TOTAL - 2 * EVERY
    assert result.steps == result.kept_step == best + 2 * EVERY == max(found)
    assert result.validation["loss"] == found[result.steps]


def test_the_best_weights_are_kept(training, batches, tmp_path) -> None:
    result = run(training, tmp_path, batches, tmp_path, keep_best=True)
    found = losses(tmp_path)
    best = min(found, key=found.__getitem__)
    assert (result.steps, result.kept_step) == (TOTAL, best)
    assert best < TOTAL
    again = evaluate(training.stepper, validation(tmp_path)())
    assert again == result.validation
    assert again["loss"] == found[best] < found[TOTAL] - 0.3
    step = int(keras.ops.convert_to_numpy(training.optimizer.iterations))
    assert step == best


@pytest.mark.parametrize("ends_early", [True, False])
def test_killed_and_resumed_it_ends_as_one_never_interrupted(ends_early, training, batches, tmp_path) -> None:
    options = {"keep_best": True, "patience": 4 if ends_early else None}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = run(training, whole, batches, tmp_path, **options)
    assert (expected.steps < TOTAL) == ends_early
    values = training.values()
    with pytest.raises(Broken):
        run(training, broken, Ending(batches), tmp_path, **options)
    for resumed_at in (TURN + 2 * EVERY, expected.steps):  # the second time, nothing is left to train
        result = run(training, broken, batches, tmp_path, **options)
        assert result.resumed_at == resumed_at
        same = ("steps", "kept_step", "validation", "loss")
        assert [getattr(result, name) for name in same] == [getattr(expected, name) for name in same]
        for variable, actual, wanted in zip(training.variables, training.values(), values, strict=True):
            np.testing.assert_array_equal(actual, wanted, err_msg=variable.path)
    assert losses(broken) == losses(whole)


def test_the_metric_decides_and_not_the_loss() -> None:
    by_metric, by_loss = Evaluation(list, metric=ACCURACY, patience=1), Evaluation(list, patience=1)
    told = [{"loss": 1.0, "accuracy": 0.5, ACCURACY.name: 0.25}, {"loss": 1.1, "accuracy": 0.6, ACCURACY.name: 0.36}]
    assert by_metric.names == ("loss", "accuracy", "squared_accuracy")
    assert by_metric.badness(told[1]) < by_metric.badness(told[0])
    assert by_loss.badness(told[0]) < by_loss.badness(told[1])
    assert (by_metric.exhausted(told), by_loss.exhausted(told)) == (False, True)


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([], False),
        ([3.0], False),
        ([3.0, 2.0, 2.5], False),
        ([3.0, 2.0, 2.5, 2.0], True),
        ([3.0, 4.0, 4.0, 1.0], False),
    ],
)
def test_patience_counts_from_the_best_and_a_tie_is_not_better(values, ends) -> None:
    evaluation = Evaluation(list, patience=2)
    assert evaluation.exhausted([{"loss": value} for value in values]) == ends
    assert not Evaluation(list).exhausted([{"loss": value} for value in values])
