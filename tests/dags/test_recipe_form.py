"""The trigger form says what the recipe and its schema say, and a run's configuration is read with the same care."""

import pytest

from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe


@pytest.fixture
def recipe(tiny_recipe):
    return load_recipe(tiny_recipe, ["seed=23", "runtime.precision=float32"])


def test_the_defaults_are_the_recipes(recipe):
    from recipe_form import form

    fields = {name: field.resolve() for name, field in form(recipe).items()}
    assert fields == {
        "tasks": ["kind"],
        "pretrain.epochs": recipe.pretrain.epochs,
        "pretrain.steps": 4,
        "pretrain.learning_rate": None,
        "seed": 23,
        "runtime.backend": "jax",
        "runtime.precision": "float32",
        "tasks.kind.finetune.epochs": 2,
        "tasks.kind.finetune.learning_rate": None,
        "overrides": [],
        "force": None,
    }


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("tasks", ["kind"], ["kinds"]),
        ("tasks", ["kind"], []),
        ("pretrain.epochs", 1, 0),
        ("pretrain.steps", None, 0),
        ("pretrain.steps", 10, 1.5),
        ("pretrain.learning_rate", 0.001, 0),
        ("seed", 0, -1),
        ("seed", 2**31 - 1, 2**31),
        ("runtime.backend", "torch", "mxnet"),
        ("runtime.precision", "mixed_bfloat16", "int8"),
        ("tasks.kind.finetune.epochs", 3, 0),
        ("overrides", ["seed=3"], "seed=3"),
        ("overrides", ["tasks.kind.gate.thresholds={accuracy: 0.9}"], ["seed: 3"]),
        ("force", "the label is new", " "),
        ("force", None, ""),
    ],
)
def test_the_form_holds_values_to_the_schema(recipe, name, right, wrong):
    from airflow.sdk.exceptions import ParamValidationError

    from recipe_form import form

    field = form(recipe)[name]
    assert field.resolve(right) == right
    with pytest.raises(ParamValidationError):
        field.resolve(wrong)


def test_descriptions_come_from_the_schema(recipe):
    from recipe_form import form

    assert "overrides `epochs`" in form(recipe)["pretrain.steps"].schema["description_md"]


def test_no_configuration_is_the_recipe_as_it_stands(recipe):
    from recipe_form import read_form

    assert read_form(recipe, {}) == (["kind"], [])


def test_every_field_becomes_an_override_that_a_recipe_takes(recipe, tiny_recipe):
    from recipe_form import form, read_form

    conf = {name: field.resolve() for name, field in form(recipe).items()}
    conf |= {"pretrain.learning_rate": 1e-5, "pretrain.steps": None, "overrides": ["seed=1", "model.num_heads=1"]}
    tasks, overrides = read_form(recipe, conf)
    changed = load_recipe(tiny_recipe, overrides)
    assert tasks == ["kind"]
    assert (changed.pretrain.learning_rate, changed.pretrain.steps, changed.model.num_heads) == (1e-5, None, 1)
    assert changed.runtime == recipe.runtime
    assert changed.seed == 1, "the free overrides win over the fields"


@pytest.mark.parametrize(
    ("conf", "complaint"),
    [
        (
            {"pretrain.step": 3},
            r"'pretrain\.step'.*did you mean.*pretrain\.steps.*the form has: tasks, pretrain\.epochs",
        ),
        ({"model.size": "small"}, r"'model\.size'.*goes into overrides"),
        ({"tasks": ["kinds"]}, r"'kinds'.*did you mean.*kind.*expected some of: kind"),
        ({"tasks": "kind"}, "expected a list of texts"),
        ({"overrides": "seed=3"}, "expected a list of texts"),
        ({"overrides": [{"seed": 3}]}, "expected a list of texts"),
    ],
)
def test_a_wrong_configuration_is_refused(recipe, conf, complaint):
    from recipe_form import read_form

    with pytest.raises(RecipeError, match=complaint):
        read_form(recipe, conf)


def test_a_run_is_forced_with_a_reason_and_by_whom_or_not_at_all(recipe):
    from recipe_form import read_force, read_form

    assert read_form(recipe, {"force": "the label is new"}) == (["kind"], [])
    assert read_force({}, "ada") is None
    assert read_force({"force": None}, "ada") is None
    assert read_force({"force": " the label is new "}, None) == "the label is new"
    assert read_force({"force": "the label is new"}, "ada") == "the label is new (triggered by ada)"
    for empty in ("", "  ", True):
        with pytest.raises(RecipeError, match=r"force: received .*; expected why the models are published"):
            read_force({"force": empty}, "ada")
