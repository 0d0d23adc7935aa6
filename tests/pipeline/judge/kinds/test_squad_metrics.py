"""Answers to questions, judged as SQuAD's script judges them."""

import numpy as np
import pytest
from kind_cases import found

from pipeline.judge.kinds import question_answering as kind
from pipeline.judge.worst import write_errors

# (answer, acceptable answers, exact match, F1), as evaluate-v2.0.py of SQuAD has them.
CASES = [
    ("Denver Broncos", ["Denver Broncos"], 1, 1.0),
    ("the Denver Broncos!", ["denver  broncos"], 1, 1.0),
    ("Broncos", ["Denver Broncos", "The Broncos"], 1, 1.0),
    ("Denver Broncos team", ["Denver Broncos"], 0, 0.8),
    ("in in Denver", ["in Denver"], 0, 0.8),  # a word counts as often as it is there
    ("Denver in", ["in Denver"], 0, 1.0),
    ("U.S.", ["US"], 1, 1.0),
    ("state-of-the-art", ["stateoftheart"], 1, 1.0),
    ("", [], 1, 1.0),
    ("Denver", [], 0, 0.0),
    ("", ["Denver"], 0, 0.0),
    ("the", [], 1, 1.0),  # nothing is left of it
    ("", ["the"], 1, 1.0),
    ("a", ["Denver"], 0, 0.0),
    ("1,000", ["1000"], 1, 1.0),
    ("theatre", ["atre"], 0, 0.0),
]


@pytest.mark.parametrize(("answer", "acceptable", "exact", "f1"), CASES)
def test_answers_are_compared_as_squad_does(answer, acceptable, exact, f1) -> None:
    assert kind.compare(answer, acceptable) == (exact, pytest.approx(f1))


def test_metrics_are_means_and_split_by_whether_there_is_an_answer() -> None:
    predictions = found([["red"], ["dark red"], [], []], ["red", "red", "red", ""])
    measured = kind.measure(predictions)
    assert measured["exact_match"] == pytest.approx(2 / 4)
    assert measured["token_f1"] == pytest.approx((1 + 2 / 3 + 0 + 1) / 4)
    assert measured["answerable_exact_match"] == pytest.approx(1 / 2)
    assert measured["answerable_token_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert measured["unanswerable_accuracy"] == pytest.approx(1 / 2)
    assert (measured["answerable"], measured["answered"]) == (2, 3)


def test_what_there_are_no_questions_for_is_undefined_and_says_why() -> None:
    measured = kind.measure(found([["red"]], ["red"]))
    assert measured["unanswerable_accuracy"] is None
    assert "every test row has an answer" in measured["undefined"]["unanswerable_accuracy"]
    measured = kind.measure(found([[]], ["red"]))
    assert measured["answerable_token_f1"] is None
    assert measured["exact_match"] == 0.0


def test_the_answer_is_the_likelier_of_the_best_stretch_and_none() -> None:
    predictions = found([["red"], ["red"]], ["red", ""])
    answers = predictions.answers.copy()
    answers[:, 0, 2], answers[:, 1] = [0.3, 0.4], [[0, 3, 0.4], [0, 3, 0.3]]
    given = kind.predict(predictions.rows[["row_id", "text", "text_pair", "label"]], (), answers).rows
    assert given["predicted"].tolist() == ["red", ""]
    assert given["start"].tolist() == [0, -1]
    assert given["confidence"].tolist() == pytest.approx([0.4, 0.4])
    assert kind.mistakes(predictions).index.tolist() == [1]


def test_errors_show_question_place_references_and_answer(tmp_path) -> None:
    predictions = found([["dark red", "red"], []], ["blue", "green"])
    predictions.rows["text"] = ["so " * 300 + "dark red and blue" + " so" * 300, "green"]
    predictions.rows["start"] = [900 + len("dark red and "), 0]
    errors = write_errors(tmp_path, predictions)["mistakes"]
    first = next(row for row in errors if row["row_id"] == "n:0")
    assert first["text"].startswith("what colour | … ")
    assert "dark red and blue" in first["text"]
    assert (first["label"], first["predicted"]) == ("dark red / red", "blue")
    assert next(row for row in errors if row["row_id"] == "n:1")["label"] == "no answer"
    assert np.isfinite([row["badness"] for row in errors]).all()
