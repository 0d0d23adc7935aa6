import keras
import numpy as np
import pytest
from tiny_models import make_masked_model

from pipeline.config import Pretrain
from pipeline.training.optimizer import make_optimizer


def rates(warmup_fraction: float, total_steps: int) -> list[float]:
    config = Pretrain(warmup_fraction=warmup_fraction)
    optimizer = make_optimizer(config, 0.4, total_steps, make_masked_model())
    schedule = optimizer._learning_rate
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(total_steps + 1)]


def test_the_rate_warms_up_linearly_and_falls_as_a_cosine_to_a_tenth() -> None:
    found = rates(0.2, 20)
    np.testing.assert_allclose(found[:5], [0.0, 0.1, 0.2, 0.3, 0.4], rtol=1e-5)
    progress = np.arange(17) / 16
    np.testing.assert_allclose(found[4:], 0.4 * (0.1 + 0.9 * (1 + np.cos(np.pi * progress)) / 2), rtol=1e-5)


@pytest.mark.parametrize(("warmup_fraction", "first"), [(0.0, 0.4), (1.0, 0.0)])
def test_the_extremes_of_warm_up_work(warmup_fraction, first) -> None:
    found = rates(warmup_fraction, 4)
    assert found[0] == pytest.approx(first)
    assert max(found) == pytest.approx(0.4)
