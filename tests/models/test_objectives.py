import keras
import numpy as np
import pytest
from compiled import value_of
from tiny_models import make_classifier, make_masked_model, packed_rows

from models.objectives import (
    class_counts,
    segment_label_sets,
    segment_labels,
    segment_values,
    token_prediction,
    tokens_and_groups,
    weighted_cross_entropy,
)
from pipeline.tuning.metrics import R2


def random_case(seed: int = 0):
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(3, 4, 5)) * 3).astype(np.float32)
    targets = random.integers(0, 5, (3, 4)).astype(np.int32)
    weights = random.choice([0.0, 0.5, 1.0], (3, 4)).astype(np.float32)
    return logits, targets, weights


def sums_of(*arguments, **options) -> list[float]:
    arguments = [keras.ops.convert_to_tensor(argument) for argument in arguments]
    return [float(keras.ops.convert_to_numpy(value)) for value in weighted_cross_entropy(*arguments, **options)[:3]]


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


def test_slices_of_a_vocabulary_add_up_to_the_formula_and_its_gradient(monkeypatch) -> None:
    if keras.backend.backend() != "torch":
        pytest.skip("only torch slices")
    import torch

    from models import torch_cross_entropy

    monkeypatch.setattr(torch_cross_entropy, "SLICE_ITEMS", 25)  # 5 rows of 12: the last slice is short
    logits, targets, weights = (torch.from_numpy(array) for array in random_case())
    logits = logits.double().requires_grad_()
    log_z = logits.logsumexp(-1)
    answer = logits.gather(-1, targets.long()[..., None])[..., 0]
    expected = ((log_z - answer + 0.3 * log_z**2) * weights).sum()
    (wanted,) = torch.autograd.grad(7 * expected, logits)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
        given = logits.detach().to(dtype).requires_grad_()
        sums = weighted_cross_entropy(given, targets, weights, z_loss=0.3)
        (gradient,) = torch.autograd.grad(7 * sums.loss, given)
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient.double(), wanted, rtol=tolerance, atol=tolerance * 10)
        torch.testing.assert_close(sums.loss.double(), expected, rtol=tolerance, atol=0)
        assert not sums.correct.requires_grad


def training_and_not(objective, model, batch, **option) -> tuple[float, float, float, float]:
    """Return the losses: training with and without the option, evaluating with and without it; in one program."""
    batch = {name: keras.ops.convert_to_tensor(array) for name, array in batch.items()}
    losses = value_of(
        lambda: keras.ops.stack(
            [objective(model, batch, training, **some).loss for training in (True, False) for some in (option, {})]
        )
    )
    return tuple(losses.tolist())


def test_labels_are_smoothed_in_training_only() -> None:
    batch = packed_rows() | {"targets": np.ones((6, 4), np.int32), "weights": np.ones((6, 4), np.float32)}
    with_it, without, *evaluated = training_and_not(segment_labels, make_classifier(), batch, label_smoothing=0.3)
    assert with_it != pytest.approx(without)
    assert evaluated == pytest.approx([without] * 2)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_z_loss_is_the_square_of_log_z(label_smoothing) -> None:
    logits, targets, weights = random_case()
    log_z = np.log(np.exp(logits.astype(np.float64)).sum(axis=-1))
    plain = sums_of(logits, targets, weights, label_smoothing=label_smoothing)
    loss, *rest = sums_of(logits, targets, weights, label_smoothing=label_smoothing, z_loss=0.3)
    assert loss - plain[0] == pytest.approx(0.3 * (log_z**2 * weights).sum(), rel=1e-5)
    assert rest == plain[1:]


OBJECTIVES = {"labels": (segment_labels, make_classifier, 4), "tokens": (token_prediction, make_masked_model, 3)}


@pytest.mark.parametrize(("objective", "make", "items"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_z_loss_acts_in_training_only(objective, make, items) -> None:
    batch = packed_rows() | {"targets": np.ones((6, items), np.int32), "weights": np.ones((6, items), np.float32)}
    with_it, without, *evaluated = training_and_not(objective, make(), batch, z_loss=0.1)
    assert with_it > without + 1
    assert evaluated == pytest.approx([without] * 2)


def test_groups_are_added_to_the_tokens_in_training_only() -> None:
    tokens, groups = random_case(), random_case()
    batch = {"targets": tokens[1], "weights": tokens[2], "groups": groups[1], "group_weights": groups[2]}

    def model(batch, training):
        return (tokens[0], groups[0]) if training else tokens[0]

    alone, told = sums_of(*tokens), sums_of(*groups)
    loss, weight, correct = numbers(tokens_and_groups(model, batch, training=True, group_weight=0.3)[:3])
    assert loss == pytest.approx(alone[0] + 0.3 * told[0], rel=1e-5)
    assert [weight, correct] == alone[1:]
    assert numbers(tokens_and_groups(model, batch, training=False, group_weight=0.3)[:3]) == pytest.approx(alone)


def said(values: np.ndarray):
    """Return a model that says these values, whatever it is asked."""
    return lambda batch, training: keras.ops.convert_to_tensor(values)


def numbers(sums) -> list[float]:
    return [float(keras.ops.convert_to_numpy(value)) for value in sums]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_sets_of_classes_cost_the_mean_binary_cross_entropy(label_smoothing) -> None:
    random = np.random.default_rng(0)
    logits = (random.normal(size=(3, 4, 5)) * 3).astype(np.float32)
    targets = random.integers(0, 2, (3, 4, 5)).astype(np.uint8)
    targets[0, 0], weights = logits[0, 0] > 0, random.choice([0.0, 1.0], (3, 4)).astype(np.float32)
    weights[0, 0] = 1
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    wanted = targets * (1 - label_smoothing) + label_smoothing / 2
    losses = -(wanted * np.log(probability) + (1 - wanted) * np.log(1 - probability)).mean(axis=-1)
    right = ((logits > 0) == targets).all(axis=-1)
    batch = {"targets": keras.ops.convert_to_tensor(targets), "weights": keras.ops.convert_to_tensor(weights)}
    found = numbers(segment_label_sets(said(logits), batch, True, label_smoothing)[:3])
    np.testing.assert_allclose(found, [(losses * weights).sum(), weights.sum(), (right * weights).sum()], rtol=1e-5)
    assert found[2] >= 1
    judged = segment_label_sets(said(logits), batch, False, label_smoothing)
    assert (numbers(judged[:1])[0] == found[0]) == (label_smoothing == 0)
    given, kept = logits > 0, weights[..., None]
    counts = [(kept * values).sum(axis=(0, 1)) for values in (given * targets, targets, given)]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(judged.counts), counts)


def test_large_logits_of_sets_do_not_overflow() -> None:
    targets = np.array([[[0, 1]]], np.uint8)
    batch = {"targets": keras.ops.convert_to_tensor(targets), "weights": keras.ops.ones((1, 1))}
    logits = np.array([[[3e4, -3e4]]], np.float32)
    assert numbers(segment_label_sets(said(logits), batch, True)[:3]) == [3e4, 1.0, 0.0]


def test_numbers_cost_their_squared_error_in_units_of_the_scale() -> None:
    values = np.array([[1.0, 5.0], [2.0, 9.0]], np.float32)
    batch = {
        "targets": keras.ops.convert_to_tensor(np.array([[1.9, 1.0], [2.0, 0.0]], np.float32)),
        "weights": keras.ops.convert_to_tensor(np.array([[1.0, 1.0], [1.0, 0.0]], np.float32)),
    }
    found = numbers(segment_values(said(values), batch, True, scale=2.0)[:3])
    np.testing.assert_allclose(found, [0.45**2 + 2.0**2, 3.0, 2.0], rtol=1e-6)
    judged = segment_values(said(values), batch, False, offset=1.0, scale=2.0)
    np.testing.assert_allclose(numbers(judged[:3]), found, rtol=1e-5)
    truth = np.array([1.9, 1.0, 2.0])
    expected = 1 - 4 * found[0] / ((truth - truth.mean()) ** 2).sum()
    assert R2.of(keras.ops.convert_to_numpy(judged.counts)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_is_the_formula(gamma, label_smoothing) -> None:
    logits, targets, weights = random_case()
    exact = logits.astype(np.float64)
    probability = np.exp(exact) / np.exp(exact).sum(axis=-1, keepdims=True)
    wanted = np.eye(5)[targets] * (1 - label_smoothing) + label_smoothing / 5
    losses = -(wanted * np.log(probability)).sum(axis=-1)
    known = np.take_along_axis(probability, targets[..., None], axis=-1)[..., 0]
    plain = sums_of(logits, targets, weights, label_smoothing=label_smoothing)
    focal = sums_of(logits, targets, weights, label_smoothing=label_smoothing, focal_gamma=gamma)
    assert focal[0] == pytest.approx(((1 - known) ** gamma * losses * weights).sum(), rel=1e-5)
    assert focal[1:] == plain[1:]
    certain = np.array([[[40.0, -40.0]]], np.float32)
    sure = sums_of(certain, np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32), focal_gamma=0.5)
    assert sure[0] == pytest.approx(0.0, abs=1e-6)  # and not NaN


def test_class_counts_are_hits_support_and_answers() -> None:
    logits, targets, weights = random_case()
    found = class_counts(*(keras.ops.convert_to_tensor(array) for array in (logits, targets, weights)))
    predicted = logits.argmax(axis=-1)
    for label in range(5):
        expected = [
            (weights * ((targets == label) & (predicted == label))).sum(),
            (weights * (targets == label)).sum(),
            (weights * (predicted == label)).sum(),
        ]
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found)[:, label], expected)
