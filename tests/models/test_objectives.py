import keras
import numpy as np
import pytest
from compiled import value_of
from tiny_models import make_causal_model, make_classifier, make_masked_model, make_span_model, packed_rows, paired_rows

from models.objectives import segment_labels, token_prediction, weighted_cross_entropy


def random_case(seed: int = 0):
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(3, 4, 5)) * 3).astype(np.float32)
    targets = random.integers(0, 5, (3, 4)).astype(np.int32)
    weights = random.choice([0.0, 0.5, 1.0], (3, 4)).astype(np.float32)
    return logits, targets, weights


def sums_of(*arguments, **options) -> list[float]:
    arguments = [keras.ops.convert_to_tensor(argument) for argument in arguments]
    return [float(keras.ops.convert_to_numpy(value)) for value in weighted_cross_entropy(*arguments, **options)]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_cross_entropy_is_the_formula(label_smoothing) -> None:
    logits, targets, weights = random_case()
    exact = logits.astype(np.float64)
    log_probability = exact - np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    wanted = np.eye(5)[targets] * (1 - label_smoothing) + label_smoothing / 5
    losses = -(wanted * log_probability).sum(axis=-1)
    right = (logits.argmax(axis=-1) == targets) * weights
    expected = [(losses * weights).sum(), weights.sum(), right.sum()]
    actual = sums_of(logits, targets, weights, label_smoothing=label_smoothing)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    assert 0 < actual[2] < actual[1]


def test_items_of_weight_zero_count_nothing() -> None:
    logits, targets, weights = random_case()
    changed = np.where(weights[:, :, None] == 0, 50.0, logits).astype(np.float32)
    assert sums_of(changed, np.where(weights == 0, 0, targets), weights) == sums_of(logits, targets, weights)
    assert sums_of(logits, targets, np.zeros_like(weights)) == [0.0, 0.0, 0.0]


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[[3e4, 0.0], [-3e4, 0.0]]], np.float32)
    loss, weight, correct = sums_of(logits, np.array([[0, 0]], np.int32), np.ones((1, 2), np.float32))
    assert (loss, weight, correct) == (3e4, 2.0, 1.0)


def test_labels_are_smoothed_in_training_only() -> None:
    model, batch = make_classifier(), packed_rows()
    batch |= {"targets": np.ones((6, 4), np.int32), "weights": np.ones((6, 4), np.float32)}
    batch = {name: keras.ops.convert_to_tensor(array) for name, array in batch.items()}

    def loss(training: bool, label_smoothing: float) -> float:
        return float(value_of(lambda: segment_labels(model, batch, training, label_smoothing).loss))

    assert loss(False, 0.3) == pytest.approx(loss(False, 0.0))
    assert loss(True, 0.3) != pytest.approx(loss(True, 0.0))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_z_loss_is_the_square_of_log_z(label_smoothing) -> None:
    logits, targets, weights = random_case()
    log_z = np.log(np.exp(logits.astype(np.float64)).sum(axis=-1))
    plain = sums_of(logits, targets, weights, label_smoothing=label_smoothing)
    loss, *rest = sums_of(logits, targets, weights, label_smoothing=label_smoothing, z_loss=0.3)
    assert loss - plain[0] == pytest.approx(0.3 * (log_z**2 * weights).sum(), rel=1e-5)
    assert rest == plain[1:]


OBJECTIVES = {
    "labels": (segment_labels, make_classifier, (6, 4)),
    "hidden tokens": (token_prediction, make_masked_model, (6, 3)),
    "next tokens": (token_prediction, make_causal_model, (6, 16)),
    "spans": (token_prediction, make_span_model, (6, 12)),
}


@pytest.mark.parametrize(("objective", "make", "items"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_z_loss_acts_in_training_only(objective, make, items) -> None:
    model, batch = make(), paired_rows()
    batch |= {"targets": np.ones(items, np.int32), "weights": np.ones(items, np.float32)}
    batch = {name: keras.ops.convert_to_tensor(array) for name, array in batch.items()}

    def loss(training: bool, z_loss: float) -> float:
        return float(value_of(lambda: objective(model, batch, training, z_loss=z_loss).loss))

    assert loss(False, 0.1) == loss(False, 0.0)
    assert loss(True, 0.1) > loss(True, 0.0) + 1
