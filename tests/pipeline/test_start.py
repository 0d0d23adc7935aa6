"""What a recipe starts from is found before anything is computed, and counts by what it holds."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from tiny_steps import make_recipe

from pipeline.config import Recipe
from pipeline.errors import RecipeError, StoreError
from pipeline.factors import factors_of
from pipeline.start import find_start, start_input
from pipeline.steps import GRAPH
from pipeline.store import Factors, Store, View


def write_backbone(folder: Path, **changed) -> dict:
    folder.mkdir(exist_ok=True)
    (folder / "backbone.json").write_text(json.dumps(describe() | changed))
    (folder / "backbone.weights.h5").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return {}


def describe() -> dict:
    from pipeline.dimensions import architecture_of, dimensions_of

    return {"architecture": "encoder", "vocabulary_size": 300, **architecture_of(dimensions_of(make_recipe().model))}


def starting(start_from: str | Path, **pretrain) -> Recipe:
    return make_recipe(pretrain={"start_from": str(start_from), **pretrain}, preprocess={"sequence_length": 32})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "workspace")
    made = store.run("pretrain", Factors("pretrain", {}, {}, "source"), write_backbone)
    store.runs.create("earlier", {"name": "notes"})
    store.runs.record("earlier", "pretrain", {"reference": made.reference, "status": "done"})
    return store


def test_a_backbone_is_named_by_run_by_reference_or_by_folder(store) -> None:
    (reference,) = (f"{step}/{fingerprint}" for step, fingerprint in store.artifacts())
    by_run, by_name = find_start(starting("run:earlier"), store), find_start(starting(reference[:20]), store)
    assert by_run.reference == by_name.reference == reference
    store.runs.create("later", {"name": "notes"})  # its pretraining has not finished
    assert find_start(starting("recipe:notes"), store).reference == reference
    by_folder = find_start(starting(by_run.path), store)
    assert by_folder == by_run.path
    assert find_start(make_recipe(), store) is None


def test_what_is_not_there_or_does_not_fit_is_refused(store, tmp_path: Path) -> None:
    store.runs.create("broken", {"name": "notes"})
    store.runs.record("broken", "pretrain", {"status": "failed"})
    write_backbone(tmp_path / "wider", hidden_dim=32)
    write_backbone(tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer.json").unlink()
    for start_from, error, message in [
        ("run:nobody", StoreError, "no run nobody in"),
        ("run:broken", RecipeError, "the pretraining of that run is failed"),
        ("recipe:nobody", RecipeError, "none of the 0 runs of that recipe has finished its pretraining"),
        ("pretrain/0000", StoreError, "no artifact 'pretrain/0000'"),
        (
            tmp_path / "nowhere",
            RecipeError,
            r"where there is no backbone.json; give run:RUN_ID, recipe:NAME, the folder",
        ),
        (tmp_path / "wider", RecipeError, "another architecture than this recipe's model: hidden_dim 32 -> 16; set"),
        (tmp_path / "bare", RecipeError, "which lacks tokenizer.json; give a whole artifact"),
    ]:
        with pytest.raises(error, match=message):
            find_start(starting(start_from), store)


def test_without_kerashub_a_preset_is_refused_at_once(store, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"'hub://bert_tiny_en_uncased', a KerasHub preset, .* 'tradewind\[hub\]'"):
        find_start(starting("hub://bert_tiny_en_uncased"), store)
    assert [step for step, _ in store.artifacts()] == ["pretrain"]


def test_the_content_counts_and_not_where_it_lies(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_backbone(tmp_path / name)
    (tmp_path / "second" / "logs").mkdir()

    def fingerprint(step: str, folder: Path) -> str:
        recipe = starting(folder)
        inputs = {"start": start_input(folder, step)}
        return factors_of(recipe, GRAPH[step], None, inputs, View(recipe, GRAPH[step].reads)).fingerprint()

    for step in ("preprocess", "pretrain"):
        assert fingerprint(step, tmp_path / "first") == fingerprint(step, tmp_path / "second")
    shutil.copytree(tmp_path / "first", tmp_path / "third")
    (tmp_path / "third" / "backbone.weights.h5").write_bytes(b"others")
    assert fingerprint("preprocess", tmp_path / "first") == fingerprint("preprocess", tmp_path / "third")
    assert fingerprint("pretrain", tmp_path / "first") != fingerprint("pretrain", tmp_path / "third")


def test_keys_that_need_a_start_say_so() -> None:
    with pytest.raises(ValueError, match="train is false, and start_from names no backbone"):
        make_recipe(pretrain={"train": False})
    with pytest.raises(ValueError, match=r"kind is start, and pretrain.start_from names no backbone"):
        make_recipe(preprocess={"tokenizer": {"kind": "start"}})
    values = make_recipe().model_dump(mode="json")
    del values["preprocess"]["tokenizer"]
    values["pretrain"] |= {"start_from": "run:earlier", "train": False}
    assert Recipe.model_validate(values).preprocess.tokenizer.kind == "start"
