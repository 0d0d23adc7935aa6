from __future__ import annotations

import pytest

from pipeline.config import Recipe
from pipeline.store import View


def test_declared_values_read_like_the_recipe(recipe: Recipe) -> None:
    view = View(recipe, ("seed", "model", "preprocess.sequence_length", "data.corpus"), ("runtime.*",))
    assert view.seed == recipe.seed
    assert view.model == recipe.model
    assert view.model.size == recipe.model.size
    assert view.preprocess.sequence_length == 128
    assert view.data.corpus == ["rows"]
    assert view.runtime.backend == "auto"


@pytest.mark.parametrize(
    "path", ["name", "pretrain", "preprocess.tokenizer", "data.sources", "data.checks", "tasks", "corpus", "no_such"]
)
def test_undeclared_read_names_path_and_declaration(recipe: Recipe, path: str) -> None:
    view = View(recipe, ("seed", "preprocess.sequence_length", "data.corpus"), ("runtime",))

    def read() -> None:
        value = view
        for part in path.split("."):
            value = getattr(value, part)

    with pytest.raises(AttributeError) as error:
        read()
    assert f"recipe.{path}" in str(error.value)
    assert "preprocess.sequence_length" in str(error.value)
    assert "runtime" in str(error.value)


def test_a_section_above_a_declared_value_is_not_readable_whole(recipe: Recipe) -> None:
    preprocess = View(recipe, ("preprocess.sequence_length",)).preprocess
    with pytest.raises(AttributeError, match=r"recipe\.preprocess\.model_dump"):
        preprocess.model_dump()


def test_wildcard_opens_one_part_of_every_task(recipe: Recipe) -> None:
    tasks = View(recipe, ("tasks.*.data",)).tasks
    assert list(tasks) == ["chapter", "billable"]
    assert len(tasks) == 2
    assert {name: task.data.label for name, task in tasks.items()} == {"chapter": "chapter", "billable": "billable"}
    assert [task.data for task in tasks.values()] == [task.data for task in recipe.tasks.values()]
    assert tasks["chapter"].data == recipe.tasks["chapter"].data
    assert "chapter" in tasks
    with pytest.raises(AttributeError, match=r"recipe\.tasks\.chapter\.finetune"):
        _ = tasks["chapter"].finetune
    with pytest.raises(KeyError):
        tasks["no_such_task"]


def test_one_task_hides_the_others(recipe: Recipe) -> None:
    tasks = View(recipe, ("tasks.chapter.finetune",)).tasks
    assert list(tasks.keys()) == ["chapter"]
    assert tasks["chapter"].finetune.epochs == 4
    assert "billable" not in tasks
    with pytest.raises(AttributeError, match=r"recipe\.tasks\.billable"):
        tasks["billable"]
    with pytest.raises(AttributeError, match=r"recipe\.tasks\.billable"):
        tasks.get("billable")


def test_values_are_the_reads_as_plain_json(recipe: Recipe) -> None:
    view = View(recipe, ("seed", "data.corpus", "tasks.*.data", "tasks.chapter.gate"), ("runtime", "name"))
    assert view.values() == {
        "seed": 17,
        "data.corpus": ["rows"],
        "tasks.chapter.data": {
            "source": "rows",
            "kind": "classification",
            "separator": ";",
            "label": "chapter",
            "where": {},
            "labels": None,
            "long_texts": "truncate",
            "prompt": None,
        },
        "tasks.billable.data": {
            "source": "rows",
            "kind": "classification",
            "separator": ";",
            "label": "billable",
            "where": {},
            "labels": None,
            "long_texts": "truncate",
            "prompt": None,
        },
        "tasks.chapter.gate": recipe.tasks["chapter"].gate.model_dump(mode="json"),
    }


def test_values_name_everything_that_can_be_read(recipe: Recipe) -> None:
    assert View(recipe, ("data",)).values() == {"data": recipe.data.model_dump(mode="json")}


@pytest.mark.parametrize("path", ["sead", "model.sise", "tasks.other.data", "seed.more"])
def test_a_declaration_that_fits_nothing_is_refused(recipe: Recipe, path: str) -> None:
    with pytest.raises(ValueError, match=path.replace(".", r"\.")):
        View(recipe, (path,))
    with pytest.raises(ValueError, match=path.replace(".", r"\.")):
        View(recipe, (), (path,))
