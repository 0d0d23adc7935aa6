import keras
import numpy as np
import pytest
from tiny_models import Training, make_masked_model, unequal_batch

from pipeline.config import Pretrain
from pipeline.training.optimizer import default_learning_rate, learning_rate_at, make_optimizer, use_averages

RATE, DECAY = 0.01, 0.1


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: np.array(keras.ops.convert_to_numpy(v.value)) for v in model.trainable_variables}


def apply(optimizer: keras.optimizers.Optimizer, gradients: list[np.ndarray]) -> None:
    optimizer.apply([keras.ops.convert_to_tensor(g.astype(np.float32)) for g in gradients])


@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "lion", "muon"])
def test_what_is_decayed(optimizer, decay_all) -> None:
    model = make_masked_model()
    config = Pretrain(
        optimizer=optimizer, decay_all=decay_all, weight_decay=DECAY, warmup_fraction=0.0, schedule="constant"
    )
    before = weights(model)
    apply(make_optimizer(config, RATE, 10, model), [np.zeros(v.shape) for v in model.trainable_variables])
    for path, value in weights(model).items():
        kernel = path.endswith("kernel")
        decayed = optimizer != "adam" and (decay_all or kernel)
        np.testing.assert_allclose(value, before[path] * (1 - RATE * DECAY if decayed else 1), rtol=1e-6, err_msg=path)


def test_muon_takes_the_kernels_of_the_blocks_and_adamw_the_rest() -> None:
    model = make_masked_model()
    optimizer = make_optimizer(Pretrain(optimizer="muon"), RATE, 10, model)
    by_muon = [
        variable.path
        for variable, velocity in zip(model.trainable_variables, optimizer.adam_velocities, strict=True)
        if velocity is None
    ]
    kernels = [path for path in (v.path for v in model.trainable_variables) if path.endswith("kernel")]
    heads = [path for path in kernels if "transform" in path]
    assert len(heads) == 1
    assert by_muon == [path for path in kernels if path not in heads]
    assert [path.split("/")[-2] for path in by_muon] == ["query", "key", "value", "output", "gate", "input", "output"]
    assert len(model.trainable_variables) == 16


def test_muon_orthogonalises_each_kernel() -> None:
    model = make_masked_model()
    config = Pretrain(optimizer="muon", clip_norm=None, weight_decay=0.0, warmup_fraction=0.0, schedule="constant")
    optimizer = make_optimizer(config, RATE, 10, model)
    random = np.random.default_rng(0)
    gradients = {v.path: random.normal(size=v.shape) for v in model.trainable_variables}
    before = weights(model)
    apply(optimizer, list(gradients.values()))
    after = weights(model)
    for path, gradient in gradients.items():
        if "block" not in path or not path.endswith("kernel"):
            continue
        left, _, right = np.linalg.svd(gradient, full_matrices=False)
        step = (before[path] - after[path]) / (RATE * 0.2 * np.sqrt(max(gradient.shape)))
        singular = np.diag(left.T @ step @ right.T)  # of the nearest orthogonal matrix all would be 1
        assert singular.min() > 0.3, path
        assert singular.max() < 1.3, path
        np.testing.assert_allclose(step, left * singular @ right, atol=2e-3, err_msg=path)


def test_the_updates_of_muon_are_as_large_as_those_of_adamw() -> None:
    """So that both share a learning rate: the root mean square is 0.2 of it, where AdamW's is 0.2 to 0.4."""
    model = make_masked_model()
    config = Pretrain(optimizer="muon", clip_norm=None, weight_decay=0.0, warmup_fraction=0.0, schedule="constant")
    optimizer = make_optimizer(config, RATE, 10, model)
    random = np.random.default_rng(0)
    before = weights(model)
    apply(optimizer, [random.normal(size=v.shape) for v in model.trainable_variables])
    (path,) = [path for path in before if path.endswith("query/kernel")]
    size = np.sqrt(np.mean((weights(model)[path] - before[path]) ** 2)) / RATE
    assert size == pytest.approx(0.2, rel=0.25)


@pytest.fixture(scope="module")
def averaged() -> Training:
    return Training(ema_decay=0.5)


def test_averages_advance_once_an_update_and_judge(averaged) -> None:
    averaged.restart()
    batch = unequal_batch(4)
    start = averaged.stepper.evaluate(batch)
    expected = None
    for _ in range(4):
        averaged.update(batch, 1)
        averaged.values()
        now = weights(averaged.model)
        expected = {path: value if expected is None else (expected[path] + value) / 2 for path, value in now.items()}
    judged = averaged.stepper.evaluate(batch)
    assert float(judged.loss) < float(start.loss)

    use_averages(averaged.optimizer)
    for path, value in weights(averaged.model).items():
        np.testing.assert_allclose(value, expected[path], rtol=0, atol=1e-6, err_msg=path)
    own = averaged.model(unequal_batch(1) | {name: array[0] for name, array in unequal_batch(1).items()})
    logits = np.array(keras.ops.convert_to_numpy(own), np.float64)
    targets, counted = (unequal_batch(1)[name][0] for name in ("targets", "weights"))
    chosen = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    losses = np.log(np.exp(logits).sum(axis=-1)) - chosen
    assert float(judged.loss) == pytest.approx((losses * counted).sum(), rel=1e-5)


def test_before_the_first_update_the_average_is_the_start(averaged) -> None:
    averaged.restart()
    plain = Training()
    batch = unequal_batch(4)
    assert float(averaged.stepper.evaluate(batch).loss) == pytest.approx(float(plain.stepper.evaluate(batch).loss))


def test_without_averages_the_weights_stay() -> None:
    model = make_masked_model()
    before = weights(model)
    use_averages(make_optimizer(Pretrain(), RATE, 10, model))
    for path, value in weights(model).items():
        np.testing.assert_array_equal(value, before[path])


def test_the_rate_of_an_update_is_told(precision) -> None:
    config = Pretrain(warmup_steps=4)
    for policy in ("float32", "mixed_float16"):  # the latter within a loss scale
        precision(policy)
        optimizer = make_optimizer(config, 0.5, 100, make_masked_model(), first_step=50)
        assert [learning_rate_at(optimizer, step) for step in (50, 54)] == pytest.approx([0.1, 0.5])


def test_the_default_rate_depends_on_the_optimizer() -> None:
    rates = {name: default_learning_rate(name, 1e-3) for name in ("adamw", "adam", "muon", "lion", "sgd")}
    assert rates["adamw"] == rates["adam"] == rates["muon"] == 1e-3
    assert rates["lion"] < 1e-3 < rates["sgd"]
