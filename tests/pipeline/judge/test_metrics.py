import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from pipeline.judge.metrics import headlines, measure

LABELS = ["a", "b", "c"]
TRUE = ["a", "a", "a", "b", "b", "c"]
PREDICTED = ["a", "a", "b", "b", "c", "c"]


def test_numbers_equal_a_hand_computed_case() -> None:
    metrics = measure(LABELS, TRUE, PREDICTED)
    assert metrics["rows"] == 6
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["confusion_matrix"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert metrics["per_class"]["a"] == pytest.approx({"precision": 1, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert metrics["per_class"]["b"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2})
    assert metrics["per_class"]["c"] == pytest.approx({"precision": 0.5, "recall": 1, "f1": 2 / 3, "support": 1})
    assert metrics["macro_precision"] == pytest.approx(2 / 3)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 0.5 + 1) / 3)
    assert metrics["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert metrics["weighted_f1"] == pytest.approx((3 * 0.8 + 2 * 0.5 + 2 / 3) / 6)


def test_a_label_that_is_only_predicted_is_no_class_of_the_macro_average() -> None:
    metrics = measure(["a", "b", "ghost"], ["a", "a", "b", "b"], ["a", "ghost", "b", "b"])
    assert metrics["macro_recall"] == pytest.approx((0.5 + 1) / 2)
    assert metrics["macro_precision"] == 1.0
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["per_class"]["ghost"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_a_class_that_is_never_answered_counts_as_zero() -> None:
    metrics = measure(["a", "b"], ["a", "b"], ["a", "a"])
    assert metrics["macro_precision"] == pytest.approx(0.25)
    assert metrics["macro_recall"] == pytest.approx(0.5)


def test_the_confusion_matrix_keeps_the_order_of_the_labels() -> None:
    assert measure(["b", "a"], ["a", "a", "b"], ["b", "a", "b"])["confusion_matrix"] == [[1, 0], [1, 1]]


def test_headlines_equal_scikit_learn_on_random_answers() -> None:
    random = np.random.default_rng(3)
    true, predicted = random.integers(0, 6, 200), random.integers(0, 7, 200)  # label 6 never occurs in the truth
    counts = np.zeros((7, 7))
    np.add.at(counts, (true, predicted), 1)
    scores = headlines(counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0))
    present = list(range(6))
    assert scores["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = score(true, predicted, labels=present, average="macro", zero_division=0)
        assert scores[f"macro_{name}"] == pytest.approx(expected)
    expected = f1_score(true, predicted, labels=present, average="weighted", zero_division=0)
    assert scores["weighted_f1"] == pytest.approx(expected)


def test_headlines_and_measure_agree_on_a_stack() -> None:
    random = np.random.default_rng(5)
    true, predicted = random.choice(LABELS, (4, 50)), random.choice(LABELS, (4, 50))
    true[0][true[0] == "c"] = "a"  # a class that one of the test sets lacks
    matrices = np.array([measure(LABELS, *pair)["confusion_matrix"] for pair in zip(true, predicted, strict=True)])
    stacked = headlines(matrices.diagonal(axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1))
    for index in range(4):
        single = measure(LABELS, true[index], predicted[index])
        for name, values in stacked.items():
            assert values[index] == pytest.approx(single[name]), name
