"""What is read off the logits of a span model."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Tokenizer
from pipeline.data.tokens.contexts import ContextEncoder
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.tokenizer import make_tokenizer
from pipeline.extract import N_BEST, best_answer, text_answers, window_answers


@pytest.mark.parametrize(("pieces", "longest"), [(7, 3), (4, 9), (30, 4), (1, 1)])
def test_probabilities_are_those_of_all_pairs(pieces, longest) -> None:
    logits = np.random.default_rng(pieces).normal(size=(pieces + 1, 2)).astype(np.float32)
    begins = np.arange(pieces) * 2
    none, found = window_answers(logits, begins, begins + 1, longest)
    raw = {
        (2 * first, 2 * last + 1): np.exp(logits[first + 1, 0] + logits[last + 1, 1])
        for first in range(pieces)
        for last in range(first, min(first + longest, pieces))
    }
    total = sum(raw.values()) + np.exp(logits[0].sum())
    assert none == pytest.approx(np.exp(logits[0].sum()) / total, rel=1e-5)
    assert len(found) == min(N_BEST, len(raw))
    best = sorted(raw.values(), reverse=True)[: len(found)]
    assert sorted(found[:, 2], reverse=True) == pytest.approx([value / total for value in best], rel=1e-5)
    for begin, end, probability in found:
        assert probability == pytest.approx(raw[begin, end] / total, rel=1e-5)


def test_a_window_without_a_piece_has_no_answer() -> None:
    none, found = window_answers(np.ones((1, 2), np.float32), np.empty(0, int), np.empty(0, int), 5)
    assert none == 1.0
    assert found.shape == (0, 3)


def test_white_space_alone_is_no_answer() -> None:
    logits = np.zeros((3, 2), np.float32)
    _, found = window_answers(logits, np.array([3, 3]), np.array([2, 4]), 2)
    assert {(begin, end) for begin, end, _ in found} == {(3, 4)}


@pytest.mark.parametrize("answers_none", [True, False])
def test_the_best_of_all_windows_counts(answers_none) -> None:
    tokenizer = make_tokenizer(["rain"], Tokenizer(vocabulary_size=300))
    windows = ContextEncoder(TextEncoder(tokenizer)).windows(pa.array(["rain " * 9, "a"]), pa.array(["b", "b"]), 8)
    number = len(windows.documents) - 1
    found = [(0.9, np.array([[0, 4, 0.1]])) for _ in range(number)] + [(1.0, np.empty((0, 3)))]
    found[1] = (0.2, np.array([[0, 4, 0.3], [5, 9, 0.5]]))
    answers = text_answers(windows, found, answers_none)
    assert answers.shape == (2, 1 + N_BEST, 3)
    assert answers[0, 0, 2] == pytest.approx(0.2 if answers_none else 0.0)
    assert answers[0, 1:4].tolist() == [[5, 9, 0.5], [0, 4, pytest.approx(0.3)], [-1, -1, 0]]
    assert best_answer("rain ache", answers[0]) == ("ache", 5, 9, 0.5)
    assert best_answer("a", answers[1])[0] == ""
