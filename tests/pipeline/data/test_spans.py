"""How a cell gives the answers to a question, and where in the text they are."""

import pyarrow as pa
import pytest

from pipeline.config import Recipe, TaskData
from pipeline.data.answers import classes_of, counted, faults, parse
from pipeline.data.spans import Span, absent, locate, located, read_spans

TASK = TaskData(source="articles", label="answers", kind="question_answering")


@pytest.mark.parametrize(
    ("cell", "spans"),
    [
        ("Denver", [("Denver", None)]),
        (" ", []),
        (None, []),
        ("[]", []),
        ('["the tide", "tide"]', [("the tide", None), ("tide", None)]),
        ('{"answer_start": [4, 9], "text": ["a b", "b"]}', [("a b", 4), ("b", 9)]),
        ('{"text": [], "answer_start": []}', []),
        ('{"text": ["", " b "], "answer_start": [-1, 4]}', [("b", 5)]),
        ('[{"text": "b", "answer_start": 3}]', [("b", 3)]),
        ('{"text": "b", "answer_start": 3}', [("b", 3)]),
        ('{"text": ["b"]}', [("b", None)]),
        ("[1]", [("[1]", None)]),
        ('["a"', [('["a"', None)]),
        ("{x}", [("{x}", None)]),
    ],
)
def test_cells_hold_acceptable_answers(cell, spans) -> None:
    assert read_spans(cell) == [Span(text=text, start=start) for text, start in spans]


@pytest.mark.parametrize(
    ("answer", "near", "start"),
    [
        ("in", None, 7),  # the word, not the end of "rain"
        ("ai", None, 1),
        ("in", 0, 2),
        ("in", 6, 7),
        ("in", 40, 15),
        ("rain", 3, 0),
        ("snow", 0, None),
    ],
)
def test_an_answer_is_found_near_its_place_or_as_a_word(answer, near, start) -> None:
    assert locate(Span(text=answer, start=near), "rain + in the min") == start


def test_starts_are_those_of_the_cleaned_text() -> None:
    cells = pa.array(['{"text": ["sea"], "answer_start": [20]}', "", "sea"])
    found = located(parse(TASK, cells), pa.array(["the sea and the sea", "sea", "a sea"]))
    assert found.to_pylist() == [[{"text": "sea", "start": 16}], [], [{"text": "sea", "start": 2}]]


def test_what_cannot_be_learned_is_told() -> None:
    spans = ['{"text": ["sea"], "answer_start": [1, 2]}', '{"text": ["sea", "the"], "answer_start": []}']
    cells = pa.array(["sea", "Sea", spans[0], None, "sea", '["sea", "lake"]', spans[1]])
    texts, questions = pa.array(["the sea"] * 7), pa.array(["what", "what", "what", "what", " ", "what", "what"])
    told = faults(TASK, cells, texts, questions).to_pylist()
    assert told[0] is told[3] is None
    assert "answer not in the text: 'Sea' does not occur" in told[1]
    assert "answer_start has 2 entries and text 1 answer; expected one for each" in told[2]
    assert "answer_start has no entries and text 2 answers; expected one for each" in told[6]
    assert told[4] == "no question: the second text is empty"
    assert "'lake'" in told[5]
    assert absent([Span(text="x" * 100, start=None)], "y").count("x") < 100


def test_statistics_tell_questions_with_an_answer_from_those_without() -> None:
    cells = pa.array(["sea", "", None])
    assert counted(TASK, cells).to_pylist() == ["answer", "no answer", "no answer"]
    assert classes_of(parse(TASK, cells)).to_pylist() == []


def test_a_recipe_without_questions_or_with_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="answers are stretches of the text; remove labels"):
        TaskData(source="articles", kind="question_answering", labels=["a"])
    task = {"data": {"source": "articles", "kind": "question_answering"}}
    recipe = {"name": "asked", "data": {"sources": {"articles": {"kind": "files", "path": "a.jsonl"}}}}
    with pytest.raises(ValueError, match=r"name its column with data.sources.articles.text_pair"):
        Recipe.model_validate(recipe | {"tasks": {"find": task}})
    recipe["data"]["sources"]["articles"]["text_pair"] = "question"
    with pytest.raises(ValueError, match=r"set model\.architecture to encoder"):
        Recipe.model_validate(recipe | {"tasks": {"find": task}, "model": {"architecture": "decoder"}})
    task["finetune"] = {"method": "feature_extraction"}
    with pytest.raises(ValueError, match="question_answering needs one a word"):
        Recipe.model_validate(recipe | {"tasks": {"find": task}})
