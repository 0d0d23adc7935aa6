import math

import numpy as np
import pytest

from pipeline.training.position import Figures
from pipeline.training.watch.spikes import Bad, Spike, find_bad, find_spike


def noise(count: int, seed: int = 0) -> list[float]:
    """Losses around 3 with a robust deviation of about 0.1."""
    return list(3 + 0.1 * np.random.default_rng(seed).normal(size=count))


def test_noise_is_no_spike_and_neither_is_a_falling_loss() -> None:
    for seed in range(50):
        assert find_spike(noise(60, seed), 10, 60, 8.0) is None
    assert find_spike([10 * 0.95**step for step in range(60)], 10, 60, 8.0) is None


def test_one_extreme_loss_is_a_spike_and_a_high_one_is_not() -> None:
    losses = noise(60)
    losses[54] = 3 + 0.1 * 12
    assert find_spike(losses, 10, 160, 8.0) is None
    losses[54] = 9.0
    spike = find_spike(losses, 10, 160, 8.0)
    assert (spike.update, spike.loss) == (155, 9.0)
    assert spike.deviations > 24


def test_three_high_losses_in_a_row_are_a_spike_from_the_first_on() -> None:
    losses = noise(60)
    losses[54] = losses[55] = losses[57] = 4.5
    assert find_spike(losses, 10, 60, 8.0) is None
    losses[56] = 4.5
    assert find_spike(losses, 10, 60, 8.0).update == 55


def test_a_spike_that_began_before_the_last_report_is_found_at_this_one() -> None:
    losses = noise(51)
    losses[48:] = [4.5, 4.5, 4.5]
    assert find_spike(losses[:50], 10, 50, 8.0) is None
    assert find_spike(losses, 1, 51, 8.0).update == 49


@pytest.mark.parametrize(("history", "found"), [(29, False), (30, True)])
def test_without_enough_history_nothing_is_a_spike(history, found) -> None:
    losses = [*noise(history), *[9.0] * 3]
    assert (find_spike(losses, 1, len(losses), 8.0) is not None) == found


def test_losses_that_hardly_vary_make_no_spike_of_nothing() -> None:
    assert find_spike([*[2.0] * 50, 2.1, 2.1, 2.1], 3, 53, 8.0) is None
    assert find_spike([*[2.0] * 50, 2.2, 2.2, 2.2], 3, 53, 8.0) == Spike(51, 2.2, pytest.approx(10.0))


def test_losses_left_out_by_float16_keep_their_numbers() -> None:
    losses = noise(60)
    losses[45], losses[57], losses[58] = math.nan, math.inf, 9.0
    assert find_spike(losses, 10, 60, 8.0).update == 59


def window(*losses: float, norm: float = 1.0) -> list[Figures]:
    return [Figures(loss, 1.0, 0.0, norm, 1.0) for loss in losses]


def test_the_first_bad_number_is_named() -> None:
    assert find_bad(window(1, 2, 3), 30, float16=False) is None
    bad = find_bad(window(1, math.nan, math.inf), 30, float16=False)
    assert (bad.update, bad.what) == (29, "loss")
    assert math.isnan(bad.value)
    assert find_bad([*window(1, 2), *window(3, norm=math.inf)], 30, False) == Bad(30, "gradient_norm", math.inf)


def test_an_overflow_of_float16_is_no_failure_until_it_stays() -> None:
    assert find_bad(window(1, 2, 3, norm=math.inf), 30, float16=True) is None
    assert find_bad(window(1, *[math.inf] * 4, 2, math.nan), 30, float16=True) is None
    bad = find_bad(window(1, *[math.inf] * 5, 2), 30, float16=True)
    assert (bad.update, bad.what) == (25, "loss")
