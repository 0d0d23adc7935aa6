"""What decides what a step of a run makes: recipe values, inputs, source, and for `validate` what the sources hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import Recipe
from pipeline.errors import SourceError
from pipeline.steps import Step
from pipeline.store import Factors, View, source_hash

BUNDLE_FILES = ("model.keras", "tokenizer.json", "bundle.json")


@dataclass(frozen=True)
class Input:
    """What a step starts from: a folder, and the hash of what is in it."""

    path: Path
    content: str


def factors_of(
    recipe: Recipe,
    step: Step,
    task: str | None,
    inputs: Mapping[str, Input],
    view: View,
    force: str | None = None,
) -> Factors:
    """Return the factors of a step: what its fingerprint is made of.

    Args:
        recipe: Recipe. The whole recipe.
        step: Step. Which step.
        task: str. For which task, where it runs once per task.
        inputs: mapping of str to Input. Function argument -> what it gets.
        view: View. The recipe as the step may see it.
        force: str or None. Why a model is published whatever the verdict.
    """
    contents = {argument: given.content for argument, given in inputs.items()}
    if step.name == "validate":
        contents |= _source_contents(recipe)
    contents |= _given_contents(recipe, step.name)
    if step.name == "publish":
        assert task is not None
        contents["recipe_yaml"] = hashlib.sha256(recipe_yaml(recipe, task).encode()).hexdigest()
        if force is not None:
            contents["force"] = hashlib.sha256(force.encode()).hexdigest()
    values = _without_paths(view.values()) | ({"task": task} if task else {})
    return Factors(step.name, values, contents, _source(step.module))


def require_unchanged(recipe: Recipe, contents: Mapping[str, str]) -> None:
    """Raise unless the sources hold what they held when the factors were made.

    Raises:
        SourceError: one does not.
    """
    for name, content in _source_contents(recipe).items():
        if contents[name] != content:
            raise SourceError(
                f"data.sources.{name.removeprefix('source.')} changed while it was validated, so the rows that were "
                "read are of neither state; run again when nothing writes to it"
            )


def _given_contents(recipe: Recipe, step: str) -> dict[str, str]:
    """Return the hash of the file that the recipe names for a step; one that is missing is the step's to refuse."""
    path = Path(recipe.preprocess.tokenizer.path or "")
    if step != "preprocess" or not path.is_file():
        return {}
    with path.open("rb") as file:
        return {"file.tokenizer": hashlib.file_digest(file, "sha256").hexdigest()}


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Return recipe values without the names of what a step is given, whose content counts, wherever it lies."""
    values = dict(values)
    if "pretrain" in values:
        values["pretrain"] = values["pretrain"] | {"start_from": None}
    if "preprocess" in values:
        tokenizer = values["preprocess"]["tokenizer"] | {"path": None}
        values["preprocess"] = values["preprocess"] | {"tokenizer": tokenizer}
    return values


def recipe_yaml(recipe: Recipe, task: str) -> str:
    """Return what of the recipe made this task's model: without the other tasks, and how and when it ran."""
    values = recipe.model_dump(
        mode="json", exclude={"runtime": True, "airflow": True, "monitor": True, "publish": {"approval", "targets"}}
    )
    values["tasks"] = {task: values["tasks"][task]}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def bundle_content(bundle: Path) -> str:
    """Return the hash of what makes a registered bundle answer as it does."""
    total = hashlib.sha256()
    for name in BUNDLE_FILES:
        with (bundle / name).open("rb") as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _source_contents(recipe: Recipe) -> dict[str, str]:
    from pipeline.data.sources import source_content

    return {f"source.{name}": source_content(name, source) for name, source in recipe.data.sources.items()}


@cache
def _source(module: str) -> str:
    return source_hash(module)
