import itertools

import keras
import numpy as np
import pytest

from pipeline.config import Pretrain
from pipeline.errors import RecipeError
from pipeline.training.schedules import decay_starts, make_schedule


def rates(config: Pretrain, total_steps: int, steps: np.ndarray, first_step: int = 0, peak: float = 0.4) -> np.ndarray:
    schedule = make_schedule(config, peak, total_steps, first_step)
    return np.array([keras.ops.convert_to_numpy(schedule(int(step))) for step in steps])


def rising(warmup: int) -> np.ndarray:
    return 0.4 * np.arange(1, warmup + 1) / (warmup + 1)


def test_cosine_follows_a_linear_warm_up_and_ends_at_its_final_fraction() -> None:
    found = rates(Pretrain(warmup_fraction=0.2), 20, np.arange(25))
    np.testing.assert_allclose(found[:4], rising(4), rtol=1e-6)
    progress = np.minimum(np.arange(21) / 16, 1)
    np.testing.assert_allclose(found[4:], 0.4 * (0.1 + 0.9 * (1 + np.cos(np.pi * progress)) / 2), rtol=1e-6)


def test_linear_falls_in_equal_steps() -> None:
    found = rates(Pretrain(schedule="linear", warmup_steps=4, final_fraction=0.0), 20, np.arange(22))
    np.testing.assert_allclose(found[:4], rising(4), rtol=1e-6)
    np.testing.assert_allclose(found[4:], 0.4 * np.maximum(1 - np.arange(18) / 16, 0), rtol=1e-6, atol=0)


def test_constant_only_warms_up() -> None:
    found = rates(Pretrain(schedule="constant", warmup_steps=4), 20, np.arange(30))
    np.testing.assert_allclose(found, np.concatenate([rising(4), np.full(26, 0.4)]), rtol=1e-6)


def test_warmup_stable_decay_has_three_phases() -> None:
    config = Pretrain(schedule="warmup_stable_decay", warmup_steps=4, decay_fraction=0.25)
    assert decay_starts(config, 20) == 15
    found = rates(config, 20, np.arange(22))
    np.testing.assert_allclose(found[:4], rising(4), rtol=1e-6)
    np.testing.assert_allclose(found[4:16], 0.4, rtol=1e-6)
    np.testing.assert_allclose(found[15:21], 0.4 * (0.1 + 0.9 * np.arange(5, -1, -1) / 5), rtol=1e-6)
    assert found[21] == found[20]


def test_what_precedes_the_decay_does_not_know_the_length_of_the_training() -> None:
    config = Pretrain(schedule="warmup_stable_decay", warmup_steps=7)
    steps = np.arange(decay_starts(config, 100))
    np.testing.assert_array_equal(rates(config, 100, steps), rates(config, 1_000_000, steps))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "warmup_stable_decay"])
def test_the_rate_is_exact_to_float32_at_any_step(schedule) -> None:
    total, config = 2_000_000_000, Pretrain(schedule=schedule, warmup_steps=50_000_000, final_fraction=0.0)
    start = decay_starts(config, total) or 50_000_000
    # float32 would round each of the last ones to the end of the training, and their rate to 0.
    steps = np.array([0, 1, 49_999_999, start, start + 1, 1_700_000_001, total - 1000, total - 3, total - 1, total])
    remaining = (total - np.maximum(steps, start).astype(np.float64)) / (total - start)
    left = np.sin(np.pi / 2 * remaining) ** 2 if schedule == "cosine" else remaining
    np.testing.assert_allclose(
        rates(config, total, steps), 0.4 * np.minimum((steps + 1) / 50_000_001, 1) * left, rtol=4e-7, atol=0
    )


def test_a_second_training_with_the_first_ones_optimizer_starts_its_schedule_anew() -> None:
    config = Pretrain(warmup_fraction=0.2)
    np.testing.assert_array_equal(rates(config, 20, np.arange(500, 525), 500), rates(config, 20, np.arange(25)))


def test_a_schedule_is_rebuilt_from_its_config() -> None:
    schedule = make_schedule(Pretrain(schedule="warmup_stable_decay"), 0.3, 50, 7)
    rebuilt = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert rebuilt.get_config() == schedule.get_config()
    assert float(rebuilt(55)) == float(schedule(55))


@pytest.mark.parametrize(("warmup_fraction", "first"), [(0.0, 0.4), (1.0, 0.08)])
def test_the_extremes_of_warm_up_work(warmup_fraction, first) -> None:
    found = rates(Pretrain(warmup_fraction=warmup_fraction), 4, np.arange(6))
    assert found[0] == pytest.approx(first)
    assert max(found) <= 0.4 + 1e-7


def test_phases_that_round_up_together_still_fit() -> None:
    config = Pretrain(schedule="warmup_stable_decay", warmup_fraction=0.5, decay_fraction=0.5)
    assert decay_starts(config, 7) == 4
    falls = [a > b for a, b in itertools.pairwise(rates(config, 7, np.arange(4, 8)))]
    assert all(falls)


def test_a_warm_up_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"warmup_steps is 30 and the decay takes 0.*only 20; make.*at most 20"):
        make_schedule(Pretrain(warmup_steps=30), 0.1, 20)
    with pytest.raises(RecipeError, match=r"warmup_steps is 17 and the decay takes 4.*only 20; make.*at most 16"):
        decay_starts(Pretrain(schedule="warmup_stable_decay", warmup_steps=17), 20)
    assert decay_starts(Pretrain(warmup_steps=3), 20) is None
