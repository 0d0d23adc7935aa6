import numpy as np
import pytest
from kind_cases import LABELS, labelled

from pipeline.judge.kinds import KINDS
from pipeline.judge.kinds.multi_label import membership, tune

TRUE = [["a"], ["a", "b"], [], ["c", "b"]]
GIVEN = [[0.9, 0.2, 0.1], [0.8, 0.4, 0.3], [0.2, 0.6, 0.1], [0.1, 0.9, 0.7]]
measure = KINDS["multi_label"].measure


def test_numbers_equal_a_hand_computed_case() -> None:
    predictions = labelled(TRUE, GIVEN)
    assert predictions.rows["predicted"].tolist() == [["a"], ["a"], ["b"], ["b", "c"]]
    assert predictions.rows["confidence"].tolist() == pytest.approx([0.8, 0.6, 0.6, 0.7])
    metrics = measure(predictions)
    assert metrics["subset_accuracy"] == 0.5
    assert metrics["micro_precision"] == metrics["micro_recall"] == metrics["micro_f1"] == pytest.approx(4 / 5)
    assert metrics["macro_f1"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics["weighted_f1"] == pytest.approx((2 * 1 + 2 * 0.5 + 1) / 5)
    assert metrics["per_class"]["b"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert metrics["roc_auc"] == pytest.approx((1 + 0.75 + 1) / 3)


def test_rows_without_any_label_are_scored() -> None:
    metrics = measure(labelled([[], []], [[0.1, 0.1, 0.1], [0.9, 0.1, 0.1]]))
    assert metrics["subset_accuracy"] == 0.5
    assert metrics["micro_f1"] == metrics["macro_f1"] == 0
    assert metrics["roc_auc"] is None
    assert "no label is carried by some test rows and not by others" in metrics["undefined"]["roc_auc"]


def test_a_label_the_model_never_saw_counts_as_missed() -> None:
    predictions = labelled([["a", "new"], ["b"]], [[0.9, 0.1, 0.1], [0.1, 0.9, 0.1]])
    assert predictions.unseen == {"new": 1}
    metrics = measure(predictions)
    assert metrics["per_class"]["new"]["recall"] == 0
    assert metrics["subset_accuracy"] == 0.5


def test_thresholds_decide_the_answers() -> None:
    tuned = tune([["a"]] * 5 + [[]], LABELS, np.array([[0.3, 0, 0]] * 5 + [[0.1, 0, 0]]))
    assert tuned["a"] == pytest.approx(0.2)
    assert labelled([["a"]], [[0.25, 0.1, 0.1]], **tuned).rows["predicted"].tolist() == [["a"]]


def test_membership_leaves_out_what_is_not_listed() -> None:
    assert membership([["b", "z"], []], ["a", "b"]).tolist() == [[False, True], [False, False]]


def test_confident_learning_finds_the_labels_that_were_lost() -> None:
    random = np.random.default_rng(2)
    truth = random.random((300, 3)) < 0.4
    probabilities = np.where(truth, 0.9, 0.1)
    given = truth.copy()
    lost = np.flatnonzero(truth[:, 0])[:8]
    given[lost, 0] = False
    predictions = labelled([[LABELS[i] for i in np.flatnonzero(row)] for row in given], probabilities)
    assert {place for place, _, _ in KINDS["multi_label"].suspects(predictions)} == set(lost.tolist())
