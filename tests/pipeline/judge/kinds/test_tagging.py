import numpy as np
import pytest
from kind_cases import rows_of, surely, tagged

from pipeline.errors import TradewindError
from pipeline.judge.kinds import KINDS
from pipeline.judge.predictions import predict
from pipeline.measures.tag_spans import are_spans, spans_of, types_of

measure = KINDS["tagging"].measure


def test_a_span_is_right_when_type_and_both_ends_are() -> None:
    true = [["B-X", "I-X", "O", "B-Y"], ["B-X", "B-X"]]
    given = [["B-X", "O", "O", "B-Y"], ["B-X", "I-X"]]
    metrics = measure(tagged(true, given))
    assert (metrics["rows"], metrics["words"], metrics["spans"]) == (2, 6, 4)
    # right: the Y alone; answered: X(0,0), Y(3,3), X(0,1); true: X(0,1), Y(3,3), X(0,0), X(1,1)
    assert metrics["precision"] == pytest.approx(1 / 3)
    assert metrics["recall"] == pytest.approx(1 / 4)
    assert metrics["f1"] == pytest.approx(2 / 7)
    assert metrics["macro_f1"] == pytest.approx(0.5)
    assert metrics["token_accuracy"] == pytest.approx(4 / 6)
    assert metrics["per_class"]["Y"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert metrics["per_class"]["X"]["support"] == 3


def test_plain_tags_are_spans_of_one_word() -> None:
    metrics = measure(tagged([["noun", "verb", "O"]], [["noun", "noun", "O"]], tags=("noun", "verb", "O")))
    assert metrics["spans"] == 2
    assert metrics["f1"] == pytest.approx(0.5)
    assert metrics["token_accuracy"] == pytest.approx(2 / 3)


def test_spans_are_read_as_the_conll_script_reads_them() -> None:
    rows = [["I-X", "I-X", "B-X", "I-Y", "O", "I-Y"]]
    assert spans_of(rows, spans=True) == [{("X", 0, 1), ("X", 2, 2), ("Y", 3, 3), ("Y", 5, 5)}]


def test_other_schemes_mark_the_same_spans() -> None:
    bio = spans_of([["B-X", "I-X", "I-X", "B-Y", "O"]], spans=True)
    assert bio == spans_of([["B-X", "I-X", "E-X", "S-Y", "O"]], spans=True)
    assert bio == spans_of([["B-X", "I-X", "L-X", "U-Y", "O"]], spans=True)
    assert are_spans(["B-X", "I-X", "O"])
    assert not are_spans(["B-X", "noun"])
    assert not are_spans(["O"])
    assert types_of(["B-X", "I-X", "O", "B-Y"]) == ["X", "Y"]
    assert types_of(["noun", "O"]) == ["noun"]


def test_nothing_tagged_at_all_is_zero_not_a_crash() -> None:
    metrics = measure(tagged([["O", "O"]], [["O", "O"]]))
    assert (metrics["f1"], metrics["token_accuracy"]) == (0.0, 1.0)


def test_rows_without_words_are_fine() -> None:
    assert measure(tagged([["B-X"], []], [["B-X"], []]))["f1"] == 1.0


def test_words_and_answers_of_different_number_are_refused() -> None:
    with pytest.raises(TradewindError, match="row 'n:0' has 2 words and the model answers 1 of them"):
        predict("tagging", rows_of([["O", "O"]]), ("O", "B-X"), [surely(["O"], ("O", "B-X"))])


def test_confident_learning_names_the_word_and_its_likelier_tag() -> None:
    random = np.random.default_rng(8)
    truth = [[str(tag) for tag in random.choice(["O", "B-X"], 5)] for _ in range(80)]
    given = [list(row) for row in truth]
    given[3][2] = "O" if truth[3][2] == "B-X" else "B-X"
    found = KINDS["tagging"].suspects(tagged(given, truth, tags=("B-X", "O")))
    assert [(place, rather) for place, rather, _ in found] == [(3, f"w2: {truth[3][2]}")]
