"""The trigger form of a recipe, made from the recipe's schema, and what was filled in turned into overrides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from airflow.sdk import Param

from pipeline.config import Recipe, Task
from pipeline.config.wording import did_you_mean, shown
from pipeline.errors import RecipeError
from pipeline.recipe_keys import Keys

# What people change from run to run; everything else goes through OVERRIDES.
KNOBS = (
    "pretrain.epochs",
    "pretrain.steps",
    "pretrain.learning_rate",
    "seed",
    "runtime.backend",
    "runtime.precision",
)
TASK_KNOBS = ("finetune.epochs", "finetune.learning_rate")
TASKS = "tasks"
OVERRIDES = "overrides"
FORCE = "force"
SHOWN = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")  # of the schema, in the form


def form(recipe: Recipe) -> dict[str, Param]:
    """Return the fields of the trigger form, in the order in which it shows them; the recipe's values are defaults."""
    names = list(recipe.tasks)
    tasks = Param(
        names,
        description="tasks of the recipe to fine-tune, judge and publish",
        type="array",
        items={"type": "string", "enum": names},
        examples=names,
        minItems=1,
        uniqueItems=True,
    )
    overrides = Param(
        [],
        description="Anything else of the recipe, one dotted.name=value a line, such as model.size=small or "
        "preprocess.tokenizer.lowercase=false. They win over the other fields.",
        type=["array", "null"],
        items={"type": "string", "pattern": r"^[^=]+="},
        section="More",
    )
    knobs = {name: _field(name, recipe) for name in KNOBS}
    finetuning = {
        f"{TASKS}.{task}.{knob}": _field(f"{TASKS}.{task}.{knob}", recipe, section="Fine-tuning")
        for task in names
        for knob in TASK_KNOBS
        if not _searched(knob, recipe.tasks[task])
    }
    force = Param(
        None,
        description="Publish whatever the verdict, and why: the reason is kept in gate.json of the export, in the "
        "registry's tags and in the report. Empty: only what the gate passes is published.",
        type=["null", "string"],
        pattern=r"\S",
        section="More",
    )
    return {TASKS: tasks} | knobs | finetuning | {OVERRIDES: overrides, FORCE: force}


def _searched(knob: str, task: Task) -> bool:
    """Return whether the trials of a search decide it."""
    search = task.finetune.search
    return search is not None and knob.removeprefix("finetune.") in search.space


def read_form(recipe: Recipe, conf: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the tasks to run and the overrides of the recipe that a run's configuration asks for.

    Raises:
        RecipeError: a key that the form does not have (Airflow lets it pass), or a task that the recipe does not have.
    """
    fields = form(recipe)
    for name in conf:
        if name not in fields:
            raise RecipeError(
                f"the run's configuration: received the key {name!r}{did_you_mean(name, fields)}; the form has: "
                f"{', '.join(fields)}. Any other key of a recipe goes into {OVERRIDES}, such as "
                f'{{"{OVERRIDES}": ["model.size=small"]}}'
            )
    tasks = _strings(TASKS, conf.get(TASKS, list(recipe.tasks)))
    for task in tasks:
        if task not in recipe.tasks:
            raise RecipeError(
                f"{TASKS}: received {task!r}{did_you_mean(task, recipe.tasks)}; expected some of: "
                f"{', '.join(recipe.tasks)}"
            )
    others = (TASKS, OVERRIDES, FORCE)
    knobs = [f"{name}={json.dumps(value)}" for name, value in conf.items() if name not in others]
    return [task for task in recipe.tasks if task in tasks], knobs + _strings(OVERRIDES, conf.get(OVERRIDES) or [])


def read_force(conf: Mapping[str, Any], user: str | None) -> str | None:
    """Return why a run publishes whatever the verdict, and who started it, if that is known; None: it does not.

    Raises:
        RecipeError: there is no reason.
    """
    reason = conf.get(FORCE)
    if reason is None:
        return None
    if not isinstance(reason, str) or not reason.strip():
        raise RecipeError(
            f"{FORCE}: received {shown(reason)}; expected why the models are published against their verdict, or null"
        )
    return f"{reason.strip()} (triggered by {user})" if user else reason.strip()


def _field(name: str, recipe: Recipe, **layout: str) -> Param:
    """Return a field with the bounds and the description that the recipe's schema has for the key."""
    schema, value = _keys().schema, recipe.model_dump(mode="json")
    for part in name.split("."):
        schema, value = _keys().child(schema, part, value) or {}, value[part]
    options = schema.get("anyOf", [schema])
    allowed = {key: option[key] for option in options for key in SHOWN if key in option}
    if len(options) > 1:  # `T | None`
        allowed["type"] = [option["type"] for option in options]
    return Param(value, description_md=schema.get("description"), **allowed, **layout)


@cache
def _keys() -> Keys:
    return Keys()


def _strings(name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RecipeError(f"{name}: received {shown(value)}, expected a list of texts")
    return value
