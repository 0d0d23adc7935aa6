import numpy as np
import pytest
from sklearn.metrics import f1_score

from pipeline.measures.thresholds import choose_thresholds


def test_thresholds_maximise_f1_of_each_label() -> None:
    random = np.random.default_rng(1)
    truth = random.random((400, 3)) < [0.5, 0.2, 0.05]
    probabilities = 0.3 * truth + 0.4 * random.random((400, 3))  # never above 0.7
    thresholds = choose_thresholds(truth, probabilities)
    for label in range(3):
        best = max(f1_score(truth[:, label], probabilities[:, label] >= t) for t in np.linspace(0, 1, 401))
        assert f1_score(truth[:, label], probabilities[:, label] >= thresholds[label]) >= best - 1e-9
    assert (thresholds < 0.5).all()


def test_a_label_that_few_rows_carry_is_not_given_to_every_row() -> None:
    truth = np.arange(200)[:, None] < [1, 4, 5]
    probabilities = np.random.default_rng(0).random((200, 3)) / 50  # of a model that knows nothing
    assert choose_thresholds(truth, probabilities).tolist()[:2] == [0.5, 0.5]
    assert choose_thresholds(truth, probabilities)[2] < 0.02


def test_thresholds_stay_at_a_half_without_reason_to_move() -> None:
    truth = np.array([[True, False], [False, False]])
    assert choose_thresholds(truth, np.array([[0.9, 0.1], [0.2, 0.3]])).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"\(2, 2\) and probabilities of shape \(2, 3\)"):
        choose_thresholds(truth, np.zeros((2, 3)))
