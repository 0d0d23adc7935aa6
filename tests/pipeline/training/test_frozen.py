"""Frozen weights: they stay, are in no optimizer, and no gradient is computed for them."""

import keras
import numpy as np
import pytest
from tiny_models import make_classifier, packed_rows

from models.freezing import train_top
from models.lora import add_adapters
from models.objectives import segment_labels
from pipeline.config import Finetune
from pipeline.training.optimizer import make_optimizer
from pipeline.training.steppers import make_stepper


def labelled(micro_batches: int = 2):
    random = np.random.default_rng(8)
    batch = packed_rows(seed=4, rows=8)
    batch["targets"] = random.integers(0, 3, (8, 4)).astype(np.int32)
    batch["weights"] = (random.random((8, 4)) < 0.6).astype(np.float32)
    return {name: array.reshape(micro_batches, -1, *array.shape[1:]) for name, array in batch.items()}


def top_block(model) -> None:
    train_top(model.encoder, 1)


def norms(model) -> None:
    train_top(model.encoder, norms_only=True)


def adapters(model) -> None:
    keras.utils.set_random_seed(5)
    add_adapters(model.encoder, 2, 4.0, "all")


METHODS = {"top_block": top_block, "norms": norms, "adapters": adapters}


def start(method=None, **config):
    model = make_classifier(dropout=0.3)
    if method:
        METHODS[method](model)
    optimizer = make_optimizer(Finetune(**{"warmup_fraction": 0.0} | config), 0.01, 10, model)
    return model, optimizer, make_stepper(model, optimizer, segment_labels)


def values(variables) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


@pytest.mark.parametrize("method", METHODS)
def test_only_what_the_method_trains_moves_and_only_that_has_slots(method) -> None:
    model, optimizer, stepper = start(method, ema_decay=0.9)
    frozen = [variable for variable in model.weights if not variable.trainable]
    before, trained_before = values(frozen), values(model.trainable_variables)
    assert frozen
    for _ in range(3):
        update = stepper.update(labelled())
    stepper.write_back()
    for variable, now, then in zip(frozen, values(frozen), before, strict=True):
        np.testing.assert_array_equal(now, then, err_msg=variable.path)
    moved = [np.abs(a - b).max() > 1e-4 for a, b in zip(values(model.trainable_variables), trained_before, strict=True)]
    assert all(moved)
    assert np.isfinite(float(update.gradient_norm))
    # Two moments and an average of each; iterations and learning rate aside.
    slots = [variable for variable in optimizer.variables if len(variable.shape)]
    assert len(slots) == 3 * len(model.trainable_variables)
    size = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert sum(int(np.prod(variable.shape)) for variable in slots) == 3 * size
    assert size < 0.6 * model.count_params()


def test_micro_batches_equal_one_big_batch() -> None:
    ends = []
    for micro_batches in (1, 4):
        model = make_classifier()
        adapters(model)
        # Adam would divide rounding by the first kernels' gradients, which start at zero.
        optimizer = make_optimizer(Finetune(warmup_fraction=0.0, optimizer="sgd"), 0.3, 10, model)
        stepper = make_stepper(model, optimizer, segment_labels)
        for _ in range(3):
            stepper.update(labelled(micro_batches))
        stepper.write_back()
        ends.append(values(model.trainable_variables))
    for one, four in zip(*ends, strict=True):
        np.testing.assert_allclose(four, one, atol=2e-6)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX tells what a program computes")
def test_no_gradient_is_computed_for_what_is_frozen() -> None:
    def flops(method) -> float:
        analysis = start(method)[2].compiled(labelled()).cost_analysis()
        return (analysis[0] if isinstance(analysis, list) else analysis)["flops"]

    assert flops("top_block") < 0.8 * flops(None)


def test_evaluation_sees_frozen_weights_and_counts_by_class() -> None:
    model, _, stepper = start("top_block")
    batch = labelled()
    sums = stepper.evaluate(batch)
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.items()}
    predicted = np.asarray(model.predict_on_batch(packed_rows(seed=4, rows=8))).argmax(axis=-1)
    targets, weights = flat["targets"], flat["weights"]
    hits = [(weights * ((targets == label) & (predicted == label))).sum() for label in range(3)]
    answered = [(weights * (predicted == label)).sum() for label in range(3)]
    support = [(weights * (targets == label)).sum() for label in range(3)]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(sums.counts), [hits, support, answered])
    assert float(sums.correct) == sum(hits)
