import numpy as np
import pytest
from kind_cases import numbered, random_case
from scipy.stats import spearmanr

from pipeline.judge.kinds import KINDS

measure = KINDS["regression"].measure


def test_numbers_equal_a_hand_computed_case() -> None:
    metrics = measure(numbered([1, 2, 3, 4], [1, 2, 3, 8]))
    assert (metrics["mse"], metrics["rmse"], metrics["mae"]) == (4.0, 2.0, 1.0)
    assert metrics["r2"] == pytest.approx(1 - 16 / 5)
    assert metrics["spearman"] == pytest.approx(1)
    assert metrics["pearson"] == pytest.approx(np.corrcoef([1, 2, 3, 4], [1, 2, 3, 8])[0, 1])
    assert metrics["residuals"]["mean"] == 1.0


@pytest.mark.parametrize(
    ("true", "answers", "undefined", "reason"),
    [
        ([5, 5, 5], [4, 5, 6], {"r2", "pearson", "spearman"}, "every test row has the same truth"),
        ([4, 5, 6], [5, 5, 5], {"pearson", "spearman"}, "the model gives every test row the same answer"),
    ],
)
def test_without_spread_a_number_is_null_and_says_why(true, answers, undefined, reason) -> None:
    metrics = measure(numbered(true, answers))
    assert {name for name, value in metrics["undefined"].items()} == undefined
    assert all(metrics[name] is None for name in undefined)
    assert set(metrics["undefined"].values()) == {reason}
    kind, predictions = KINDS["regression"], numbered(true, answers)
    sums = np.asarray(kind.statistics(predictions, ()).sum(axis=0)).reshape(1, -1)
    assert {name for name, value in kind.scores(sums, ()).items() if np.isnan(value[0])} == undefined


def test_large_numbers_keep_their_digits() -> None:
    true = 1e9 + np.arange(50)
    predictions = numbered(list(true), list(true + 0.5))
    kind = KINDS["regression"]
    sums = np.asarray(kind.statistics(predictions, ()).sum(axis=0)).reshape(1, -1)
    assert kind.scores(sums, ())["pearson"][0] == pytest.approx(1)
    assert kind.scores(sums, ())["rmse"][0] == pytest.approx(0.5)


def test_spearman_of_resamples_is_near_to_ranking_them_anew() -> None:
    predictions = random_case("regression", 200, seed=5)
    kind, random = KINDS["regression"], np.random.default_rng(6)
    table = kind.statistics(predictions, ()).toarray()
    true, given = (predictions.rows[name].to_numpy() for name in ("label", "predicted"))
    for _ in range(20):
        drawn = random.integers(0, 200, 200)
        ours = kind.scores(table[drawn].sum(axis=0)[None], ())["spearman"][0]
        assert ours == pytest.approx(spearmanr(true[drawn], given[drawn]).statistic, abs=0.03)
