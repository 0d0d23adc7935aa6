import math

import pytest

from pipeline.config import Range, Search
from pipeline.tuning.proposals import propose

SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "epochs": {"low": 2, "high": 9},
    "keep": ["best", "last"],
}


def run(search: Search, seed: int, judge) -> list[tuple[dict, float | None]]:
    told = []
    while len(told) < search.trials:
        told += [(values, judge(values)) for values in propose(search, seed, told)]
    return told


def near(values) -> float | None:
    """Return how near the best values are; a rate above 0.005 diverges."""
    if values["learning_rate"] > 5e-3:
        return None
    return (values["keep"] == "last") - abs(math.log10(values["learning_rate"] / 1e-3)) - abs(values["epochs"] - 5) / 8


def test_the_same_seed_and_results_give_the_same_trials_within_the_space() -> None:
    search = Search(trials=11, parallel=3, space=SPACE)
    told = run(search, 5, near)
    assert told == run(search, 5, near)
    assert len(told) == 11
    assert told != run(search, 6, near)
    for values, _ in told:
        assert list(values) == list(SPACE), "in the recipe's order"
        assert 1e-4 <= values["learning_rate"] <= 1e-2
        assert float(f"{values['learning_rate']:.3g}") == values["learning_rate"]
        assert isinstance(values["epochs"], int)
        assert 2 <= values["epochs"] <= 9
    assert all(values not in [other for other, _ in told[:place]] for place, (values, _) in enumerate(told))


def test_more_trials_begin_with_the_same_ones() -> None:
    few, many = (run(Search(trials=trials, parallel=4, space=SPACE), 5, near) for trials in (8, 12))
    assert many[:8] == few


def test_the_first_trials_are_spread_and_the_later_ones_follow_what_was_found() -> None:
    told = run(Search(trials=24, parallel=4, space=SPACE), 3, near)
    quarters = {int(2 * math.log10(values["learning_rate"] / 1e-4)) for values, _ in told[:4]}
    assert quarters == {0, 1, 2, 3}
    assert {values["keep"] for values, _ in told[:4]} == {"best", "last"}
    later = [metric for _, metric in told[12:]]
    earlier = [metric for _, metric in told[:4]]
    assert max(metric for metric in later if metric is not None) > max(m for m in earlier if m is not None)
    assert sum(metric is None for metric in later) <= 3
    assert sum(values["keep"] == "last" for values, _ in told[12:]) >= 8


@pytest.mark.parametrize("parallel", [1, 5, 12])
def test_a_space_with_an_end_is_tried_whole(parallel) -> None:
    search = Search(
        trials=12, parallel=parallel, space={"epochs": {"low": 1, "high": 4}, "ema_decay": [None, 0.9, 0.99]}
    )
    told = run(search, 1, lambda values: 0.5)
    assert {(values["epochs"], values["ema_decay"]) for values, _ in told} == {
        (epochs, decay) for epochs in (1, 2, 3, 4) for decay in (None, 0.9, 0.99)
    }


def test_logarithmic_whole_numbers() -> None:
    search = Search(trials=6, space={"global_batch_size": Range(low=8, high=128, log=True)})
    sizes = [values["global_batch_size"] for values, _ in run(search, 2, lambda values: -values["global_batch_size"])]
    assert all(isinstance(size, int) and 8 <= size <= 128 for size in sizes)


def test_a_narrow_range_gets_the_digits_that_it_needs() -> None:
    search = Search(trials=12, space={"dropout": Range(low=0.1, high=0.1001)})
    rates = [values["dropout"] for values, _ in run(search, 2, lambda values: 0.5)]
    assert len(set(rates)) == 12
    assert all(0.1 <= rate <= 0.1001 for rate in rates)
