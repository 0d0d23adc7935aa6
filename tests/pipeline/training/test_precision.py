import keras
import numpy as np
import pytest
from tiny_models import Training, make_masked_model, unequal_batch

from models.objectives import Sums
from pipeline.backend import select_precision
from pipeline.config import Pretrain
from pipeline.errors import BackendError
from pipeline.training.optimizer import make_optimizer
from pipeline.training.precision import dtype_policy, finish, prepare
from pipeline.training.steppers import make_stepper


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
    losses = training.update(unequal_batch(2), 40)
    assert losses[-1] < losses[0] - 0.5
    assert int(training.optimizer.iterations) == 40
    assert float(training.optimizer.dynamic_scale) == 2.0**15


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the refusal is JAX's")
def test_float16_is_refused_on_a_cpu_of_jax() -> None:
    with pytest.raises(BackendError, match=r"'mixed_float16', which JAX cannot compute on a CPU.*mixed_bfloat16"):
        select_precision("mixed_float16")


def squared_error(model: keras.Model, batch, training: bool) -> Sums:
    """The simplest objective, on a model that JAX can compute in float16 on a CPU."""
    errors = keras.ops.cast(model(batch["inputs"], training=training), "float32")[:, 0] - batch["targets"]
    loss = keras.ops.sum(keras.ops.square(errors) * batch["weights"])
    return Sums(loss, keras.ops.sum(batch["weights"]), keras.ops.sum(batch["weights"]))


class Regression:
    """A linear model of 4 inputs in one micro-batch of many rows."""

    def __init__(self, policy: str, rows: int = 4096) -> None:
        keras.config.set_dtype_policy(policy)
        self.model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
        self.model.build((None, 4))
        config = Pretrain(ema_decay=0.5, warmup_fraction=0.0)
        self.optimizer = make_optimizer(config, 0.01, 100, self.model)
        self.stepper = make_stepper(self.model, self.optimizer, squared_error)
        random = np.random.default_rng(0)
        inputs = random.normal(size=(1, rows, 4)).astype(np.float32)
        self.batch = {
            "inputs": inputs,
            "targets": inputs @ np.array([0.05, -0.1, 0.15, 0.02], np.float32),
            "weights": np.ones((1, rows), np.float32),
        }

    def state(self) -> dict[str, np.ndarray]:
        self.stepper.write_back()
        variables = [*self.model.trainable_variables, *self.optimizer.variables]
        return {v.path: np.array(keras.ops.convert_to_numpy(v.value)) for v in variables}


def test_an_overflow_of_float16_skips_the_whole_update_and_halves_the_scale(precision) -> None:
    regression = Regression("mixed_float16", rows=8)
    regression.stepper.update(regression.batch)
    before = regression.state()
    (scale,) = [path for path in before if path.endswith("dynamic_scale")]  # so a checkpoint keeps it
    (good_updates,) = [path for path in before if path.endswith("step_counter")]
    regression.optimizer.dynamic_scale.assign(2.0**40)
    regression.stepper.read_in()

    update = regression.stepper.update(regression.batch)
    after = regression.state()
    assert not np.isfinite(float(update.gradient_norm))
    assert np.isfinite(float(update.loss))
    assert after.pop(scale) == 2.0**39
    assert after.pop(good_updates) == 0
    for path, value in after.items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    assert int(regression.optimizer.iterations) == 1

    for _ in range(40):
        regression.stepper.update(regression.batch)
    recovered = regression.state()
    assert 1 < recovered[scale] < 2.0**30
    assert 10 < int(regression.optimizer.iterations) < 41


def test_gradients_of_many_tokens_stay_inside_float16(precision) -> None:
    # Summed over 4096 rows and only then divided, they would exceed 65504 a hundred times over.
    half, whole = Regression("mixed_float16"), Regression("float32")
    expected = [float(whole.stepper.update(whole.batch).gradient_norm) for _ in range(5)]
    found = [float(half.stepper.update(half.batch).gradient_norm) for _ in range(5)]
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    half.stepper.write_back()
    assert int(half.optimizer.iterations) == 5
    assert float(half.optimizer.dynamic_scale) == 2.0**15


@pytest.fixture(scope="module")
def float8_training():
    keras.config.set_dtype_policy(dtype_policy("float8"))
    yield Training(precision="float8", clip_norm=0.2)
    keras.config.set_dtype_policy("float32")


def scales(training: Training) -> list[np.ndarray]:
    training.stepper.write_back()
    variables = [v for v in training.model.trainable_variables if getattr(v, "overwrite_with_gradient", False)]
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables]


def test_float8_trains(float8_training) -> None:
    float8_training.restart()
    losses = float8_training.update(unequal_batch(2), 30)
    assert losses[-1] < losses[0] - 0.5


def test_the_scales_of_float8_are_those_of_the_largest_micro_batch(float8_training) -> None:
    """Neither divided by the number of tokens, nor summed over micro-batches, nor clipped."""
    found = {}
    for micro_batches in (1, 4):
        float8_training.restart()
        float8_training.update(unequal_batch(micro_batches), 1)
        found[micro_batches] = scales(float8_training)
    assert len(found[1]) == 48  # two for each of inputs, kernel and output gradient, of eight dense layers
    assert max(float(value.max()) for value in found[1]) > 0.5
    for whole, folded in zip(found[1], found[4], strict=True):
        np.testing.assert_allclose(folded, whole, rtol=2e-2)  # the largest number in bfloat16


def test_a_model_trained_in_float8_ends_as_an_ordinary_one(precision, tmp_path) -> None:
    precision(dtype_policy("float8"))
    model = make_masked_model(seed=1)
    before = [np.array(v) for v in model.get_weights()]
    prepare(model, "float8")
    assert len(model.get_weights()) == len(before) + 48
    finish(model)
    model.save_weights(tmp_path / "model.weights.h5")
    precision("float32")
    plain = make_masked_model(seed=2)
    plain.load_weights(tmp_path / "model.weights.h5")
    for value, expected in zip(plain.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_other_precisions_leave_the_model_alone() -> None:
    model = make_masked_model()
    number = len(model.variables)
    for name in ("float32", "mixed_bfloat16", "mixed_float16"):
        assert dtype_policy(name) == name
        prepare(model, name)
        finish(model)
    assert len(model.variables) == number
