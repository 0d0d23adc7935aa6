"""What a recipe's `pretrain.start_from` names: found before anything is computed, and told apart by content."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.config import Recipe
from pipeline.dimensions import architecture_of, dimensions_of, require_architecture
from pipeline.errors import RecipeError
from pipeline.factors import Input
from pipeline.presets.fetch import WORKER, fetch_preset, require_installed
from pipeline.presets.folder import PRESET, describe, is_address, is_fetched, is_saved_preset
from pipeline.store import Artifact, Factors, Store, source_hash
from pipeline.store.files import Hasher
from pipeline.store.fingerprint import digest

START = "start"  # the node of a run that holds it
RUN = "run:"
RECIPE = "recipe:"
REFERENCE = re.compile(rf"(pretrain|{PRESET})/[0-9a-f]{{4,64}}")
TOKENIZER = "tokenizer.json"
PARTS = ("backbone.json", "backbone.weights.h5", TOKENIZER, "stable/*", f"{PRESET}/**/*")

_hasher = Hasher()


def find_start(recipe: Recipe, store: Store) -> Artifact | Path | None:
    """Return the backbone that the recipe starts from: an artifact, or a folder of one; a preset is fetched now.

    Raises:
        RecipeError: there is none, it is a preset that cannot be used, or it has another architecture than the recipe.
        StoreError: no such run or artifact.
    """
    start_from = recipe.pretrain.start_from
    if start_from is None:
        return None
    found = _find(start_from, store)
    _check(recipe, found.path if isinstance(found, Artifact) else found)
    return found


def start_input(folder: Path, step: str) -> Input:
    """Return the folder as the input of a step: for `preprocess` the tokenizer is what counts of it."""
    if step == "preprocess":
        content = digest({"tokenizer": _hasher.sha256(folder / TOKENIZER), "packs": not is_fetched(folder)})
        return Input(folder, content)
    files = sorted({path for pattern in PARTS for path in folder.glob(pattern) if path.is_file()})
    return Input(folder, digest({path.relative_to(folder).as_posix(): _hasher.sha256(path) for path in files}))


def _find(start_from: str, store: Store) -> Artifact | Path:
    folder = Path(start_from)
    if start_from.startswith(RUN):
        return _of_run(start_from, store)
    if start_from.startswith(RECIPE):
        return _of_recipe(start_from, store)
    if REFERENCE.fullmatch(start_from) and not folder.is_dir():
        return store.get(start_from)
    if is_address(start_from):
        return _fetched(start_from, {"address": start_from}, store)
    if is_saved_preset(folder):
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        content = {path.relative_to(folder).as_posix(): _hasher.sha256(path) for path in files}
        return _fetched(start_from, {"files": content}, store)
    if not describe(folder):
        raise RecipeError(
            f"pretrain.start_from is {start_from!r}, where there is no backbone.json; give run:RUN_ID, recipe:NAME, "
            "the folder or the name of an artifact of `pretrain`, such as workspace/artifacts/pretrain/FINGERPRINT, or "
            "a KerasHub preset: hub://NAME, hf://USER/REPO, kaggle://..., or a folder that save_to_preset wrote"
        )
    if not (folder / TOKENIZER).is_file():
        raise RecipeError(f"pretrain.start_from is {start_from!r}, which lacks {TOKENIZER}; give a whole artifact")
    return folder


def _of_run(start_from: str, store: Store) -> Artifact:
    run_id = start_from.removeprefix(RUN)
    entry = store.runs.load(run_id)["nodes"].get("pretrain", {})
    if entry.get("status") != "done":
        raise RecipeError(
            f"pretrain.start_from is {start_from!r}, and the pretraining of that run is "
            f"{entry.get('status', 'missing')}; `tradewind runs` lists the runs, and its recipe, run again, finishes it"
        )
    return store.get(entry["reference"])


def _of_recipe(start_from: str, store: Store) -> Artifact:
    name = start_from.removeprefix(RECIPE)
    runs = [run for run in store.runs.list() if run["recipe_name"] == name]
    for run in runs:
        if run["nodes"].get("pretrain", {}).get("status") == "done":
            return store.get(run["nodes"]["pretrain"]["reference"])
    raise RecipeError(
        f"pretrain.start_from is {start_from!r}, and none of the {len(runs)} runs of that recipe has finished its "
        "pretraining; `tradewind runs` lists the runs. Run that recipe first"
    )


def _fetched(start_from: str, source: dict[str, Any], store: Store) -> Artifact:
    """Return the preset as an artifact of its own, so that only the first run needs the network."""
    require_installed(start_from)
    factors = Factors(PRESET, source, {}, digest({"code": source_hash(WORKER), "keras_hub": version("keras-hub")}))

    def work(out: Path) -> dict[str, Any]:
        fetch_preset(start_from, out)
        return describe(out)

    return store.run(PRESET, factors, work)


def _check(recipe: Recipe, folder: Path) -> None:
    """Raise RecipeError unless the recipe can go on from a backbone."""
    found, length = describe(folder), recipe.preprocess.sequence_length
    if is_fetched(folder):
        if recipe.pretrain.resume_stable:
            raise RecipeError("pretrain.resume_stable goes on from a training of ours, and start_from is a preset")
        for name, task in recipe.tasks.items():
            if task.data.kind == "generation":
                raise RecipeError(
                    f"tasks.{name}.data.kind is generation, and the preset of pretrain.start_from does not write; "
                    "train a decoder or an encoder_decoder of ours for it"
                )
            if task.gate.scratch != "off":
                raise RecipeError(
                    f"tasks.{name}.gate.scratch is {task.gate.scratch}, which trains a model of ours without "
                    "pretraining, and pretrain.start_from is a preset; set it to off, and compare with a run of "
                    "finetune.initialize: scratch"
                )
        if length > found["max_sequence_length"]:
            raise RecipeError(
                f"preprocess.sequence_length is {length}, and the {found['class']} of pretrain.start_from knows "
                f"positions up to {found['max_sequence_length']}; lower it"
            )
        return
    dimensions = dimensions_of(recipe.model)
    require_architecture(found, {"architecture": dimensions.architecture, **architecture_of(dimensions)})
