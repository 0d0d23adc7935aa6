import numpy as np
import pytest
from kind_cases import classified, numbered, random_case
from sklearn.metrics import f1_score

from pipeline.judge.bootstrap import Resampled, mcnemar, percentiles
from pipeline.judge.bootstrap import resample as resample_answers
from pipeline.judge.kinds import KINDS

LABELS = ["a", "b", "c"]


def resample(labels, truth, answers, groups, seed, resamples=1000) -> Resampled:
    models = {model: classified(truth, given, groups, labels) for model, given in answers.items()}
    return resample_answers(models, seed, resamples)


def flawed(random: np.random.Generator, truth: list[str], skill: float) -> list[str]:
    return [label if random.random() < skill else str(random.choice(LABELS)) for label in truth]


def cases(rows: int, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    random = np.random.default_rng(seed)
    truth = [str(label) for label in random.choice(LABELS, rows, p=[0.6, 0.3, 0.1])]
    return truth, flawed(random, truth, 0.8), flawed(random, truth, 0.6)


def test_the_values_are_those_of_the_test_rows() -> None:
    truth, one, two = cases(300)
    scores = resample(LABELS, truth, {"one": one, "two": two}, None, seed=1, resamples=10)
    for model, answers in (("one", one), ("two", two)):
        expected = KINDS["classification"].measure(classified(truth, answers, labels=LABELS))
        assert scores.values[model] == pytest.approx({name: expected[name] for name in scores.values[model]})


def test_draws_follow_the_distribution_of_drawing_rows_one_by_one() -> None:
    truth, answers, _ = cases(120)
    rows = np.random.default_rng(9).integers(0, 120, (600, 120))
    truths, given = np.array(truth)[rows], np.array(answers)[rows]
    plain = [f1_score(t, g, labels=sorted(set(t)), average="macro") for t, g in zip(truths, given, strict=True)]
    drawn = resample(LABELS, truth, {"model": answers}, None, seed=2, resamples=3000).draws["model"]["macro_f1"]
    assert np.mean(drawn) == pytest.approx(np.mean(plain), abs=0.006)
    assert np.std(drawn) == pytest.approx(np.std(plain), rel=0.12)


def test_the_accuracy_interval_is_that_of_the_binomial() -> None:
    truth = ["a"] * 400
    answers = ["a"] * 300 + ["b"] * 100
    low, high = resample(LABELS, truth, {"model": answers}, None, seed=3).interval("model", "accuracy")
    error = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - error, abs=0.006)
    assert high == pytest.approx(0.75 + error, abs=0.006)


def test_the_interval_covers_the_true_accuracy_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(4)
    covered = 0
    for trial in range(200):
        answers = ["a" if right else "b" for right in random.random(150) < 0.7]
        low, high = resample(["a", "b"], ["a"] * 150, {"m": answers}, None, trial, 300).interval("m", "accuracy")
        covered += low <= 0.7 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_the_interval_of_the_calibration_error_takes_back_what_chance_adds() -> None:
    random, covered, resampled_too_high = np.random.default_rng(8), 0, 0
    for trial in range(30):
        sure = random.uniform(0.55, 0.95, 300)
        truth = ["a" if right else "b" for right in random.random(300) < sure - 0.05]  # off by .05
        rows = classified(truth, ["a"] * 300, labels=["a", "b"]).rows[["row_id", "text", "text_pair", "group", "label"]]
        answers = KINDS["classification"].predict(rows, ("a", "b"), np.stack([sure, 1 - sure], 1).astype(np.float32))
        scores = resample_answers({"model": answers}, trial, 200)
        low, high = scores.interval("model", "calibration_error")
        covered += 0 <= low <= 0.05 <= high
        resampled_too_high += percentiles(scores.draws["model"]["calibration_error"])[0] > 0.05
    assert covered >= 24
    assert resampled_too_high >= 8, "which is why it is no percentile interval"


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    truth, one, _ = cases(200)
    intervals = [resample(LABELS, truth, {"one": one}, None, seed).interval("one", "macro_f1") for seed in (5, 5, 6)]
    assert intervals[0] == intervals[1] != intervals[2]


def test_the_paired_interval_is_narrower_than_unpaired_ones_suggest() -> None:
    truth, one, _ = cases(400)
    nearly = list(one)
    right = [index for index, label in enumerate(truth) if one[index] == label][:6]
    for index in right:
        nearly[index] = "b" if truth[index] == "a" else "a"
    scores = resample(LABELS, truth, {"one": one, "nearly": nearly}, None, seed=7)
    difference, (low, high) = scores.difference("one", "nearly", "accuracy")
    assert difference == pytest.approx(6 / 400)
    assert 0 < low < difference < high
    alone = scores.interval("one", "accuracy")
    assert high - low < (alone[1] - alone[0]) / 2


def test_identical_answers_differ_by_nothing_in_every_resample() -> None:
    truth, one, _ = cases(100)
    scores = resample(LABELS, truth, {"one": one, "same": list(one)}, None, seed=8)
    assert scores.difference("one", "same", "macro_f1") == (0.0, [0.0, 0.0])


def test_rows_of_a_group_are_drawn_together() -> None:
    truth = ["a"] * 200
    answers = ["a"] * 140 + ["b"] * 60
    groups = [f"g{index // 20}" for index in range(200)]  # ten groups, each all right or all wrong
    alone = resample(LABELS, truth, {"m": answers}, None, seed=9)
    together = resample(LABELS, truth, {"m": answers}, groups, seed=9)
    assert (alone.units, together.units) == (200, 10)
    assert set(np.round(together.draws["m"]["accuracy"] * 10, 6)) <= {float(count) for count in range(11)}
    widths = [high - low for low, high in (s.interval("m", "accuracy") for s in (alone, together))]
    assert widths[1] > 3 * widths[0]


def test_groups_of_one_row_and_rows_without_a_group_are_the_same() -> None:
    truth, one, _ = cases(150)
    single = resample(LABELS, truth, {"m": one}, [f"g{index}" for index in range(150)], seed=10)
    none = resample(LABELS, truth, {"m": one}, [None] * 150, seed=10)
    assert single.units == none.units == 150
    assert single.interval("m", "macro_f1") == none.interval("m", "macro_f1")


def test_many_labels_and_rows_stay_in_range() -> None:
    random = np.random.default_rng(11)
    labels = [f"l{index}" for index in range(300)]
    truth = [str(label) for label in random.choice(labels, 3000)]
    answers = [label if random.random() < 0.5 else "l0" for label in truth]
    low, high = resample(labels, truth, {"m": answers}, None, seed=1).interval("m", "macro_f1")
    assert 0.5 < low < high < 0.75


def test_percentiles_are_the_central_95_percent() -> None:
    assert percentiles(np.arange(1001.0)) == pytest.approx([25, 975])


@pytest.mark.parametrize("kind", KINDS)
def test_every_headline_of_every_kind_has_an_interval_around_its_value(kind) -> None:
    scores = resample_answers({"model": random_case(kind, 200, seed=1)}, seed=2)
    for metric, cell in scores.table()["model"].items():
        low, high = cell["interval"]
        # Chance makes a small calibration error larger, and its interval takes that back: it may lie below the value.
        assert low <= cell["value"], metric
        assert cell["value"] <= high + (0.02 if metric == "calibration_error" else 0), metric
        assert low < high


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_distribution_of_drawing_rows_for_every_kind(kind) -> None:
    predictions, random = random_case(kind, 60, seed=3), np.random.default_rng(4)
    drawn = resample_answers({"model": predictions}, seed=5, resamples=2000).draws["model"]
    plain = [KINDS[kind].measure(predictions.take(random.integers(0, 60, 60))) for _ in range(200)]
    for metric, draws in drawn.items():
        if metric.startswith(("macro", "weighted")):
            continue  # a class that is not drawn at all is left out by either, but warned of by one
        values = [one[metric] for one in plain]
        assert np.mean(draws) == pytest.approx(np.mean(values), abs=4 * np.std(values) / np.sqrt(200)), metric
        assert np.std(draws) == pytest.approx(np.std(values), rel=0.25), metric


def test_an_undefined_metric_has_no_interval() -> None:
    table = resample_answers({"model": numbered([2, 2, 2], [1, 2, 3])}, seed=1).table()["model"]
    assert table["pearson"] == {"value": None, "interval": None}
    assert table["mae"]["value"] == pytest.approx(2 / 3)


def test_mcnemar_counts_the_rows_that_only_one_has_right() -> None:
    truth = ["a"] * 30
    ours, theirs = ["a"] * 28 + ["b"] * 2, ["a"] * 18 + ["b"] * 10 + ["a"] * 2
    found = mcnemar(classified(truth, ours), classified(truth, theirs))
    assert (found["only_candidate"], found["only_opponent"]) == (10, 2)
    assert found["p"] == pytest.approx(2 * sum([1, 12, 66]) / 2**12)
    assert mcnemar(classified(truth, ours), classified(truth, ours))["p"] == 1.0
    assert mcnemar(numbered([1.0], [2.0]), numbered([1.0], [3.0])) is None
