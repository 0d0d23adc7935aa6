import numpy as np
import pandas as pd
import pytest
from kind_cases import classified, rows_of, surely
from sklearn.metrics import log_loss, roc_auc_score

from pipeline.judge.kinds import KINDS
from pipeline.judge.predictions import predict

LABELS = ["a", "b", "c"]
TRUE = ["a", "a", "a", "b", "b", "c"]
PREDICTED = ["a", "a", "b", "b", "c", "c"]
measure = KINDS["classification"].measure


def test_numbers_equal_a_hand_computed_case() -> None:
    metrics = measure(classified(TRUE, PREDICTED))
    assert metrics["rows"] == 6
    assert metrics["accuracy"] == metrics["micro_f1"] == pytest.approx(4 / 6)
    assert metrics["confusion_matrix"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert metrics["per_class"]["a"] == pytest.approx({"precision": 1, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert metrics["per_class"]["b"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2})
    assert metrics["per_class"]["c"] == pytest.approx({"precision": 0.5, "recall": 1, "f1": 2 / 3, "support": 1})
    assert metrics["macro_precision"] == pytest.approx(2 / 3)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 0.5 + 1) / 3)
    assert metrics["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert metrics["weighted_f1"] == pytest.approx((3 * 0.8 + 2 * 0.5 + 2 / 3) / 6)
    assert metrics["log_loss"] == pytest.approx(-(4 * np.log(0.9) + 2 * np.log(0.05)) / 6, rel=1e-5)
    assert metrics["calibration_error"] == pytest.approx(0.9 - 4 / 6, rel=1e-5)
    assert metrics["reliability"] == [{"confidence": pytest.approx(0.9), "accuracy": pytest.approx(4 / 6), "rows": 6}]


def test_a_label_that_is_only_predicted_is_no_class_of_the_macro_average() -> None:
    metrics = measure(classified(["a", "a", "b", "b"], ["a", "ghost", "b", "b"]))
    assert metrics["macro_recall"] == pytest.approx((0.5 + 1) / 2)
    assert metrics["macro_precision"] == 1.0
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["per_class"]["ghost"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_a_class_that_is_never_answered_counts_as_zero() -> None:
    metrics = measure(classified(["a", "b"], ["a", "a"]))
    assert metrics["macro_precision"] == pytest.approx(0.25)
    assert metrics["macro_recall"] == pytest.approx(0.5)


def test_loss_and_areas_equal_scikit_learn_on_random_answers() -> None:
    random = np.random.default_rng(7)
    probabilities = random.dirichlet([1, 1, 1], 300)
    truth = [LABELS[random.choice(3, p=row)] for row in probabilities]
    metrics = measure(predict("classification", rows_of(truth), tuple(LABELS), probabilities))
    assert metrics["log_loss"] == pytest.approx(log_loss(truth, probabilities), rel=1e-4)
    assert metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, probabilities, multi_class="ovr"), rel=1e-4)
    assert 0.4 < metrics["pr_auc"] < 1
    assert metrics["calibration_error"] < 0.1


def test_areas_of_one_class_are_null_with_a_reason() -> None:
    metrics = measure(classified(["a", "a"], ["a", "b"]))
    assert (metrics["roc_auc"], metrics["pr_auc"]) == (None, None)
    assert "every test row carries the same label" in metrics["undefined"]["roc_auc"]


def test_a_label_the_model_cannot_give_costs_much_but_not_infinitely() -> None:
    predictions = predict("classification", rows_of(["new", "a"]), ("a", "b"), surely(["a", "a"], ["a", "b"]))
    assert predictions.unseen == {"new": 1}
    assert 7 < measure(predictions)["log_loss"] < 9


def test_confident_learning_finds_the_labels_that_were_swapped() -> None:
    random = np.random.default_rng(5)
    truth = [str(label) for label in random.choice(LABELS, 300)]
    given = ["b" if place < 12 and label == "a" else label for place, label in enumerate(truth)]
    swapped = {place for place in range(300) if truth[place] != given[place]}
    predictions = predict("classification", rows_of(given), tuple(LABELS), surely(truth, LABELS, 0.8))
    found = KINDS["classification"].suspects(predictions)
    assert {place for place, _, _ in found} == swapped
    assert {rather for _, rather, _ in found} == {"a"}


def test_rows_of_unknown_labels_are_no_suspects() -> None:
    rows = rows_of(["new"] * 3 + ["a"] * 10 + ["b"] * 10)
    predictions = predict("classification", rows, ("a", "b"), surely(["a"] * 13 + ["b"] * 10, ["a", "b"]))
    assert KINDS["classification"].suspects(predictions) == []
    assert isinstance(KINDS["classification"].mistakes(predictions), pd.Series)
