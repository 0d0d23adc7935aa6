import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from pipeline.measures.averages import averages


def test_averages_equal_scikit_learn_on_random_answers() -> None:
    random = np.random.default_rng(3)
    true, predicted = random.integers(0, 6, 200), random.integers(0, 7, 200)  # label 6 never occurs in the truth
    counts = np.zeros((7, 7))
    np.add.at(counts, (true, predicted), 1)
    scores = averages(counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0))
    present = list(range(6))
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = score(true, predicted, labels=present, average="macro", zero_division=0)
        assert scores[f"macro_{name}"] == pytest.approx(expected)
    expected = f1_score(true, predicted, labels=present, average="weighted", zero_division=0)
    assert scores["weighted_f1"] == pytest.approx(expected)
    assert accuracy_score(true, predicted) < 0.5
