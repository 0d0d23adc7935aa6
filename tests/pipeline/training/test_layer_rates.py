from itertools import pairwise

import keras
import numpy as np
import pytest

from pipeline.config import Finetune
from pipeline.training.layer_rates import Share, shares_by_depth
from pipeline.training.optimizer import make_optimizer

# Of the kernels and biases of three layers, the lowest first.
DEPTHS = [2, 2, 1, 1, 0, 0]


def test_rates_fall_with_depth_and_layers_begin_one_after_the_other() -> None:
    assert shares_by_depth([0, 1, 3, 3], 0.5, False, 100) == (Share(1.0), Share(0.5), Share(0.125), Share(0.125))
    assert shares_by_depth([3, 0, 1], None, True, 100) == (Share(1.0, 75), Share(1.0, 0), Share(1.0, 25))
    assert shares_by_depth([0, 2], 0.5, True, 9) == (Share(1.0, 0), Share(0.25, 6))


def positions(shares=(), updates: int = 1, **config) -> list[list[np.ndarray]]:
    """Return the weights at the start and after each update."""
    model = keras.Sequential([keras.layers.Dense(4, name=f"block_{number}") for number in range(3)])
    model.build((None, 4))
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    settings = {"warmup_fraction": 0.0, "schedule": "constant", "clip_norm": None, "weight_decay": 0.1}
    optimizer = make_optimizer(Finetune(**settings | config), 0.01, 10, model, shares=shares)
    found = [model.get_weights()]
    for _ in range(updates):
        gradients = [random.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], model.trainable_variables)
        found.append(model.get_weights())
    return found


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lion", "muon"])
def test_an_update_is_scaled_decay_included(name) -> None:
    shares = [Share(0.5**depth) for depth in DEPTHS]
    (start, whole), (_, scaled) = positions(optimizer=name), positions(shares, optimizer=name)
    for depth, origin, one, other in zip(DEPTHS, start, whole, scaled, strict=True):
        np.testing.assert_allclose(other - origin, (one - origin) * 0.5**depth, rtol=1e-2, atol=3e-6)
        assert np.abs(one - origin).max() > 1e-4


def test_with_shares_of_one_nothing_changes() -> None:
    for one, other in zip(positions(updates=3)[-1], positions([Share()] * 6, 3)[-1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_layer_stands_still_before_its_turn() -> None:
    shares = [Share(1.0, 2 * depth) for depth in DEPTHS]
    states = positions(shares, updates=6, ema_decay=0.9)
    for update, (before, after) in enumerate(pairwise(states)):
        moving = [bool((one != other).any()) for one, other in zip(before, after, strict=True)]
        assert moving == [update >= 2 * depth for depth in DEPTHS]
