from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Recipe
from pipeline.store import Factors, Store, View, source_hash
from pipeline.store.fingerprint import source_modules

READS = ("seed", "model", "tasks.*.data")
USES = ("runtime",)

MODULES = {
    "pipeline/__init__.py": "",
    "pipeline/pretrain.py": """
from __future__ import annotations
from typing import TYPE_CHECKING
import json
import models.encoder
from pipeline.config import Recipe
from .data import packing
from pipeline.data.shards import read
if TYPE_CHECKING:
    from pipeline import typing_only

def pretrain():
    from models import objective
    command = [ "python", "-m", "pipeline.proof" ]
    template = Path(__file__).with_name("card.md.j2").read_text()
""",
    "pipeline/config.py": "from pipeline import only_for_config",
    "pipeline/only_for_config.py": "",
    "pipeline/typing_only.py": "",
    "pipeline/proof.py": "",
    "pipeline/card.md.j2": "",
    "pipeline/other.md.j2": "",
    "pipeline/unrelated.py": "import pipeline.pretrain",
    "pipeline/data/__init__.py": "",
    "pipeline/data/packing.py": "from ..text.normal import form",
    "pipeline/data/shards.py": "def read():\n    from pipeline.data.memory import view",
    "pipeline/data/memory.py": "",
    "pipeline/text/normal.py": "form = 'NFC'",
    "models/__init__.py": "",
    "models/encoder.py": "from models.layers.attention import Attention",
    "models/objective.py": "",
    "models/layers/__init__.py": "from models.layers.norm import Norm",
    "models/layers/attention.py": "class Attention: ...",
    "models/layers/norm.py": "class Norm: ...",
}
CLOSURE = {
    "pipeline",
    "pipeline.pretrain",
    "pipeline.proof",
    "pipeline/card.md.j2",
    "pipeline.data",
    "pipeline.data.packing",
    "pipeline.data.shards",
    "pipeline.data.memory",
    "pipeline.text.normal",
    "models",
    "models.encoder",
    "models.objective",
    "models.layers",
    "models.layers.attention",
    "models.layers.norm",
}


def file_of(module: str) -> str:
    path = module.replace(".", "/")
    return next(name for name in (module, f"{path}.py", f"{path}/__init__.py") if name in MODULES)


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    for name, text in MODULES.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {package: tmp_path / "code" / package for package in ("pipeline", "models")}


def fingerprint_of(recipe: Recipe) -> str:
    return Factors("finetune", View(recipe, READS, USES).values(), {}, "source").fingerprint()


def changed(recipe: Recipe, **paths: object) -> Recipe:
    values = recipe.model_dump()
    for path, value in paths.items():
        *sections, key = path.split("__")
        target = values
        for section in sections:
            target = target[section]
        target[key] = value
    return Recipe.model_validate(values)


def test_fingerprint_is_a_sha256_and_repeatable(factors: Factors) -> None:
    assert len(factors.fingerprint()) == 64
    assert set(factors.fingerprint()) <= set("0123456789abcdef")
    assert factors.fingerprint() == replace(factors).fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"step": "finetune"},
        {"recipe": {"seed": 18, "model": {"size": "tiny"}}},
        {"recipe": {"seed": 17, "model": {"size": "mini"}}},
        {"recipe": {"seed": 17}},
        {"inputs": {"tokens": "d" * 64}},
        {"inputs": {"rows": "c" * 64}},
        {"inputs": {}},
        {"source": "t" * 64},
    ],
)
def test_each_factor_changes_it(factors: Factors, change: dict[str, object]) -> None:
    assert replace(factors, **change).fingerprint() != factors.fingerprint()


def test_key_order_does_not_change_it(factors: Factors) -> None:
    turned = replace(factors, recipe={"model": {"size": "tiny"}, "seed": 17})
    assert turned.fingerprint() == factors.fingerprint()
    two = replace(factors, inputs={"a": "1", "b": "2"})
    assert replace(factors, inputs={"b": "2", "a": "1"}).fingerprint() == two.fingerprint()


def test_a_value_does_not_slip_into_a_neighbouring_factor(factors: Factors) -> None:
    moved = Factors(factors.step, {}, {"seed": "17"}, factors.source)
    assert moved.fingerprint() != Factors(factors.step, {"seed": "17"}, {}, factors.source).fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 18},
        {"model__size": "base"},
        {"model__dropout": 0.5},
        {"tasks__chapter__data__label": "code"},
        {"tasks__billable__data__where": {"kind": "description"}},
    ],
)
def test_declared_recipe_values_change_it(recipe: Recipe, change: dict[str, object]) -> None:
    assert fingerprint_of(changed(recipe, **change)) != fingerprint_of(recipe)


def test_one_more_task_changes_a_wildcard_read(recipe: Recipe) -> None:
    more = changed(recipe, tasks__extra={"data": {"source": "rows"}})
    assert fingerprint_of(more) != fingerprint_of(recipe)


@pytest.mark.parametrize(
    "change",
    [
        {"description": "other words"},
        {"pretrain__epochs": 3},
        {"tasks__chapter__finetune": {"epochs": 9}},
        {"tasks__chapter__description": "other words"},
        {"runtime__backend": "torch"},
        {"runtime__checkpoint_seconds": 1.0},
    ],
)
def test_undeclared_and_used_recipe_values_do_not_change_it(recipe: Recipe, change: dict[str, object]) -> None:
    assert changed(recipe, **change) != recipe
    assert fingerprint_of(changed(recipe, **change)) == fingerprint_of(recipe)


def test_the_place_of_the_store_does_not_change_it(factors: Factors, tmp_path: Path) -> None:
    def work(out: Path) -> dict[str, object]:
        (out / "file").write_text("same")
        return {}

    one = Store(tmp_path / "one").run("pretrain", factors, work)
    other = Store(tmp_path / "two" / "deep").run("pretrain", factors, work)
    assert (one.fingerprint, one.content) == (other.fingerprint, other.content)


def test_closure_holds_all_that_is_imported_and_nothing_else(roots: dict[str, Path]) -> None:
    assert set(source_modules("pipeline.pretrain", roots)) == CLOSURE


@pytest.mark.parametrize("module", sorted(CLOSURE))
def test_source_of_every_module_in_the_closure_changes_it(roots: dict[str, Path], module: str) -> None:
    before = source_hash("pipeline.pretrain", roots)
    path = roots["pipeline"].parent / file_of(module)
    path.write_text(path.read_text() + "\nCHANGED = 1\n")
    assert source_hash("pipeline.pretrain", roots) != before


@pytest.mark.parametrize(
    "module",
    [
        *("pipeline.unrelated", "pipeline.config", "pipeline.only_for_config", "pipeline.typing_only"),
        "pipeline/other.md.j2",
    ],
)
def test_source_of_other_modules_does_not_change_it(roots: dict[str, Path], module: str) -> None:
    before = source_hash("pipeline.pretrain", roots)
    path = roots["pipeline"].parent / file_of(module)
    path.write_text(path.read_text() + "\nCHANGED = 1\n")
    assert source_hash("pipeline.pretrain", roots) == before


def test_times_and_place_of_the_source_do_not_change_it(roots: dict[str, Path], tmp_path: Path) -> None:
    before = source_hash("pipeline.pretrain", roots)
    for path in (tmp_path / "code").rglob("*.py"):
        os.utime(path, (1, 1))
    shutil.move(tmp_path / "code", tmp_path / "elsewhere")
    moved = {package: tmp_path / "elsewhere" / package for package in roots}
    assert source_hash("pipeline.pretrain", moved) == before


def test_a_module_that_is_renamed_changes_it(roots: dict[str, Path]) -> None:
    before = source_hash("pipeline.pretrain", roots)
    source = roots["pipeline"] / "pretrain.py"
    (roots["pipeline"] / "proof.py").rename(roots["pipeline"] / "prove.py")
    source.write_text(source.read_text().replace("pipeline.proof", "pipeline.prove"))
    assert source_hash("pipeline.pretrain", roots) != before


def test_unknown_module_is_an_error(roots: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"no module 'pipeline\.pretrane'"):
        source_hash("pipeline.pretrane", roots)


def test_the_frame_is_left_out_of_our_own_closure() -> None:
    modules = source_modules("pipeline.progress")
    assert set(modules) == {"pipeline", "pipeline.progress"}
    assert not any(name.startswith("pipeline.config") for name in modules)


@pytest.mark.parametrize("step", ["preprocess", "pretrain", "finetune", "trial", "scratch", "search"])
def test_what_trains_is_not_made_of_what_judges(step: str) -> None:
    reached = [name for name in source_modules(f"pipeline.{step}") if name.startswith("pipeline.judge")]
    assert reached == [], "an edit of these would train anew"


def test_nan_in_a_recipe_value_is_refused(factors: Factors) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(factors, recipe={"seed": float("nan")}).fingerprint()
