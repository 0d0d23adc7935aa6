import numpy as np
import pytest
from tiny_models import Training, unequal_batch

from pipeline.training.optimizer import default_learning_rate

OPTIMIZERS = ("adamw", "adam", "sgd", "lion", "muon")


def largest_difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(one, other, strict=True) if a.size)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_micro_batches_of_unequal_weight_equal_one_big_batch(optimizer) -> None:
    training = Training(
        learning_rate=min(default_learning_rate(optimizer, 0.01), 0.1),
        optimizer=optimizer,
        clip_norm=0.2,
        ema_decay=0.7,
        schedule="linear",
    )
    updates, states = {}, {}
    for micro_batches in (1, 4):
        training.restart()
        batch = unequal_batch(micro_batches)
        updates[micro_batches] = np.array([[float(x) for x in training.stepper.update(batch)] for _ in range(5)])
        states[micro_batches] = training.values()
    assert largest_difference(states[4], states[1]) < 1e-6
    np.testing.assert_allclose(updates[4], updates[1], rtol=2e-6)
    assert (updates[1][:, 3] > 0.2).all()  # else nothing was clipped
    assert int(training.optimizer.iterations) == 5
    assert updates[1][-1, 0] < updates[1][0, 0]
    assert largest_difference(training.start, states[1]) > 1e-3

    # What averaging each micro-batch first would give; so the equality above tells the two apart.
    means = unequal_batch(4)
    means["weights"] /= np.maximum(means["weights"].sum(axis=(1, 2), keepdims=True), 1)
    training.restart()
    training.update(means, 5)
    assert largest_difference(training.values(), states[1]) > 1e-3


def test_gradients_are_summed_in_float32(precision) -> None:
    precision("mixed_bfloat16")
    training = Training(optimizer="sgd")
    one = {name: array[2:3] for name, array in unequal_batch(4).items()}

    def norm(times: int) -> float:
        training.restart()
        batch = {name: np.repeat(array, times, axis=0) for name, array in one.items()}
        return float(training.stepper.update(batch).gradient_norm)

    # bfloat16 would round each of the sums by up to 0.4 %.
    assert norm(64) == pytest.approx(norm(1), rel=1e-5)
