"""What a label column means for each kind of task, and what is told of a cell that cannot be read."""

import pyarrow as pa
import pytest

from pipeline.config import TaskData
from pipeline.data.answers import classes_of, counted, faults, parse


def data(kind, **values):
    return TaskData(source="notes", label="answer", kind=kind, **values)


def cells(*values):
    return pa.array(values, pa.string())


def told(task, label, text="one two"):
    return faults(task, cells(label), cells(text))[0].as_py()


@pytest.mark.parametrize(
    ("task", "cell", "answer"),
    [
        (data("classification"), " a;b ", " a;b "),
        (data("classification"), " ", None),
        (data("multi_label"), " b; a;b;; ", ["a", "b"]),
        (data("multi_label"), '["b;c", "a"]', ["a", "b;c"]),
        (data("multi_label"), "", []),
        (data("multi_label"), None, []),
        (data("multi_label", separator="|"), "x;y|z", ["x;y", "z"]),
        (data("regression"), "-1.5e1", -15.0),
        (data("regression"), "many", None),
        (data("tagging"), "O  B-x\tI-x", ["O", "B-x", "I-x"]),
        (data("tagging"), '["O", "B-x"]', ["O", "B-x"]),
    ],
)
def test_cells_become_typed_answers(task, cell, answer):
    assert parse(task, cells(cell)).to_pylist() == [answer]


@pytest.mark.parametrize(
    ("task", "cell", "reason"),
    [
        (data("classification"), None, "no label: column answer is empty"),
        (data("regression"), " ", "no label: column answer is empty"),
        (data("regression"), "4 of 5", "column answer holds '4 of 5': expected a number"),
        (data("regression"), "nan", "column answer holds 'nan': expected a finite number"),
        (data("regression"), "inf", "column answer holds 'inf': expected a finite number"),
        (data("tagging"), "O B-x O", "3 tags for 2 words"),
        (data("tagging"), '["O"', "no JSON list"),
        (data("tagging"), '[["O"], ["O"]]', "no flat JSON list"),
        (data("multi_label", labels=["a"]), "b;a;c", "label not allowed: b, c: expected some of a"),
        (data("tagging", labels=["O"]), "O B-x", "label not allowed: B-x"),
    ],
)
def test_what_cannot_be_read_is_told(task, cell, reason):
    assert reason in told(task, cell)
    assert told(data("tagging"), "O B-x") is None
    assert told(data("multi_label"), None) is None


def test_classes_are_counted_one_by_one():
    assert classes_of(parse(data("multi_label"), cells("a;b", "", "b"))).to_pylist() == ["a", "b", "b"]
    assert classes_of(parse(data("regression"), cells("1", "2"))).to_pylist() == []


def test_a_key_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="kind is regression, whose answers are numbers; remove labels"):
        data("regression", labels=["1"])
    with pytest.raises(ValueError, match="separator is of kind multi_label, and kind is tagging"):
        data("tagging", separator="|")


def test_a_text_to_be_written_is_the_cell_itself_and_its_words_are_counted() -> None:
    targets = cells("Eine Frau geht.", "  ", None)
    assert parse(data("generation"), targets).to_pylist() == ["Eine Frau geht.", None, None]
    assert faults(data("generation"), targets, targets).to_pylist() == [
        None,
        *["no target: column answer is empty"] * 2,
    ]
    assert counted(data("generation"), targets).to_pylist() == [3.0, None, None]
