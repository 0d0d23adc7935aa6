import keras
import numpy as np
import pytest
from tiny_models import Training, unequal_batch

from pipeline.training.steppers import make_stepper


def largest_difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(one, other, strict=True) if a.size)


def train(training: Training, batch: dict[str, np.ndarray], times: int = 5) -> tuple[list[np.ndarray], list[float]]:
    training.restart()
    losses = training.update(batch, times)
    return training.values(), losses


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
    np.testing.assert_allclose([float(x) for x in judged[:3]], [float(x) for x in updated[:3]], rtol=1e-5)


def test_dropout_draws_anew_in_every_micro_batch(dropout_training) -> None:
    rows = unequal_batch(4)
    same = {name: np.stack([array[2], array[2]]) for name, array in rows.items()}

    def loss(*counted: float) -> float:
        batch = same | {"weights": same["weights"] * np.array(counted, np.float32)[:, None, None]}
        return train(dropout_training, batch, times=1)[1][0]

    assert loss(1, 0) == loss(1, 0)
    assert loss(1, 0) != pytest.approx(loss(0, 1), rel=1e-4)


def test_a_backend_without_a_stepper_is_named(monkeypatch, training) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="Keras runs on 'numpy'; training needs jax, tensorflow or torch"):
        make_stepper(training.model, training.optimizer, training.stepper.objective)
