import numpy as np
import pytest
from kind_cases import LABELS, labelled, random_case, rows_of
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.judge import ranking
from pipeline.judge.bootstrap import resample
from pipeline.judge.predictions import predict
from pipeline.judge.ranking import Ranking


def weighted(predictions, weights: np.ndarray) -> dict[str, float]:
    """Return the areas of rows that are drawn so often, by scikit-learn."""
    truth, scores = Ranking(predictions).truth, Ranking(predictions).scores
    drawn = weights > 0
    mixed = [label for label in range(truth.shape[1]) if len(set(truth[drawn, label])) == 2]
    areas = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score}
    return {
        name: np.mean([area(truth[:, label], scores[:, label], sample_weight=weights) for label in mixed])
        for name, area in areas.items()
    }


def graded(rows: int, seed: int):
    """Return a classifier whose probabilities differ from row to row, some of them equal."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, rows)
    logits = random.normal(size=(rows, 3)) + 1.5 * np.eye(3)[truth]
    probabilities = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 2)
    return predict("classification", rows_of([LABELS[index] for index in truth]), LABELS, probabilities)


@pytest.mark.parametrize(
    "case", [graded(80, 1), random_case("classification", 60, 2), random_case("multi_label", 70, 3)]
)
def test_areas_of_a_resample_are_those_of_scikit_learn(case, monkeypatch) -> None:
    monkeypatch.setattr(ranking, "AT_ONCE", 200)  # several parts
    drawn = np.random.default_rng(4).multinomial(len(case.rows), np.full(len(case.rows), 1 / len(case.rows)), 7)
    found = Ranking(case).areas(drawn.T.astype(float))
    for place, weights in enumerate(drawn):
        for name, value in weighted(case, weights.astype(float)).items():
            assert found[name][place] == pytest.approx(value), name


def test_a_resample_without_two_sides_has_no_area_and_a_label_without_them_is_left_out() -> None:
    case = labelled([["a"], [], ["a", "b"]], [[0.9, 0.1, 0.1], [0.2, 0.4, 0.1], [0.8, 0.3, 0.1]])
    drawn = np.array([[1, 0, 0], [1, 2, 0], [1, 1, 1]]).T.astype(float)
    found = Ranking(case).areas(drawn)
    assert np.isnan(found["roc_auc"][0])
    assert found["roc_auc"][1:] == pytest.approx([1.0, (1.0 + 0.5) / 2])


def test_the_interval_of_a_difference_in_area_is_paired() -> None:
    one = graded(300, 5)
    scores = resample({"one": one, "same": one}, seed=6, resamples=200)
    assert scores.difference("one", "same", "roc_auc") == (0.0, [0.0, 0.0])


def test_many_rows_and_labels_are_ranked_on_fewer_resamples(monkeypatch) -> None:
    monkeypatch.setattr(ranking, "MOST_PRODUCTS", 150 * 40 * 3)
    drawn = resample({"model": graded(40, 7)}, seed=8, resamples=400).draws["model"]
    assert (len(drawn["roc_auc"]), len(drawn["accuracy"])) == (150, 400)
