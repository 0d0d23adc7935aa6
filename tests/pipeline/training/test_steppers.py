import keras
import numpy as np
import pytest
from tiny_models import VOCABULARY, Training, packed_rows

from pipeline.backend import select_precision
from pipeline.errors import BackendError
from pipeline.training.steppers import make_stepper


def unequal_batch(micro_batches: int) -> dict[str, np.ndarray]:
    """Eight rows; the pairs of rows have 1, 0, 6 and 5 valid items."""
    batch = packed_rows(seed=4, rows=8)
    random = np.random.default_rng(8)
    batch["targets"] = random.integers(3, VOCABULARY, (8, 3)).astype(np.int32)
    batch["weights"] = np.array([[1, 0, 0], *[[0, 0, 0]] * 3, *[[1, 1, 1]] * 3, [1, 1, 0]], np.float32)
    return {name: array.reshape(micro_batches, -1, *array.shape[1:]) for name, array in batch.items()}


def largest_difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(one, other, strict=True) if a.size)


def train(training: Training, batch: dict[str, np.ndarray], times: int = 5) -> tuple[list[np.ndarray], list[float]]:
    training.restart()
    losses = training.update(batch, times)
    return training.values(), losses


def test_micro_batches_of_unequal_weight_equal_one_big_batch(training) -> None:
    whole, losses = train(training, unequal_batch(1))
    folded, folded_losses = train(training, unequal_batch(4))
    assert largest_difference(folded, whole) < 1e-6
    np.testing.assert_allclose(folded_losses, losses, rtol=0, atol=1e-6)
    assert int(training.optimizer.iterations) == 5
    assert losses[-1] < losses[0]

    # What averaging each micro-batch first would give; so the equality above tells the two apart.
    means = unequal_batch(4)
    means["weights"] /= np.maximum(means["weights"].sum(axis=(1, 2), keepdims=True), 1)
    mean_of_means, _ = train(training, means)
    assert largest_difference(mean_of_means, whole) > 1e-3


def test_the_gradient_of_the_global_batch_is_clipped(training) -> None:
    train(training, unequal_batch(4), times=1)
    moments = [v for v in training.optimizer.variables if "momentum" in v.path]
    assert len(moments) == len(training.model.trainable_variables)
    squares = sum(float((keras.ops.convert_to_numpy(m).astype(np.float64) ** 2).sum()) for m in moments)
    assert np.sqrt(squares) / (1 - 0.9) == pytest.approx(0.05, rel=1e-4)  # the first moment is a tenth of the gradient


def test_without_valid_items_only_the_decay_acts_and_only_on_kernels(training) -> None:
    batch = unequal_batch(4)
    batch["weights"][:] = 0
    values, _ = train(training, batch, times=1)
    for variable, value, start in zip(training.model.trainable_variables, values, training.start, strict=False):
        is_kernel = len(variable.shape) == 2 and "embedding" not in variable.path
        np.testing.assert_allclose(value, start * (1 - 0.01 * 0.1) if is_kernel else start, rtol=1e-6)


def test_evaluation_is_the_loss_before_the_update_and_trains_nothing(training) -> None:
    training.restart()
    batch = unequal_batch(4)
    before = training.values()
    judged = training.stepper.evaluate(batch)
    assert largest_difference(training.values(), before) == 0.0
    updated = training.stepper.update(batch)
    np.testing.assert_allclose([float(x) for x in judged], [float(x) for x in updated[:3]], rtol=1e-5)


def test_dropout_draws_anew_in_every_micro_batch(dropout_training) -> None:
    rows = unequal_batch(4)
    same = {name: np.stack([array[2], array[2]]) for name, array in rows.items()}

    def loss(*counted: float) -> float:
        batch = same | {"weights": same["weights"] * np.array(counted, np.float32)[:, None, None]}
        return train(dropout_training, batch, times=1)[1][0]

    assert loss(1, 0) == loss(1, 0)
    assert loss(1, 0) != pytest.approx(loss(0, 1), rel=1e-4)


def test_bfloat16_trains(precision) -> None:
    precision("mixed_bfloat16")
    training = Training()
    losses = training.update(unequal_batch(2), 30)
    assert losses[-1] < losses[0] - 0.5
    assert {value.dtype for value in training.values()[:-1] if value.dtype.kind == "f"} == {np.dtype(np.float32)}


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float16 attention on a CPU")
def test_float16_trains_with_a_loss_scale(precision) -> None:
    assert select_precision("mixed_float16") == "mixed_float16"
    precision("mixed_float16")
    training = Training()
    assert isinstance(training.optimizer, keras.optimizers.LossScaleOptimizer)
    losses = training.update(unequal_batch(2), 40)
    assert losses[-1] < losses[0] - 0.5
    assert float(training.optimizer.dynamic_scale) >= 2.0
    assert int(training.optimizer.iterations) > 20


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the refusal is JAX's")
def test_float16_is_refused_on_a_cpu_of_jax() -> None:
    with pytest.raises(BackendError, match=r"'mixed_float16', which JAX cannot compute on a CPU.*mixed_bfloat16"):
        select_precision("mixed_float16")


def test_a_backend_without_a_stepper_is_named(monkeypatch, training) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="Keras runs on 'numpy'; training needs jax, tensorflow or torch"):
        make_stepper(training.model, training.optimizer, training.stepper.objective)
