"""Adapters alone: what is exported, and that on their backbone they are the published model again."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_steps import KINDS, finetune_notes, make_backbone, make_recipe, make_tokens

from pipeline.bundle import Bundle
from pipeline.cli.application import execute
from pipeline.errors import PublishError
from pipeline.progress import SilentProgress
from pipeline.publishing.adapters import export_adapters, rebuild_bundle
from pipeline.tuning.adapters import AdapterError

TEXTS = [f"{one} and {other} on day 3" for kind in sorted(KINDS) for one, other in [KINDS[kind][:2]]]
LORA = {"method": "lora", "lora": {"rank": 2}, "epochs": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Artifacts of a pretraining and of a fine-tuning with adapters, and the export with the adapters alone."""
    home = tmp_path_factory.mktemp("adapters")
    tokens = make_tokens(home)
    backbone, tuned, export = home / "backbone", home / "tuned", home / "export"
    backbone.mkdir()
    make_backbone(backbone, tokens, make_recipe())
    finetune_notes(tokens, backbone, tuned, SilentProgress(), **LORA)
    shutil.copytree(tuned / "bundle", export)
    export_adapters(export, tuned / "adapters", backbone)
    return {"backbone": backbone, "tuned": tuned, "export": export}


def test_adapters_are_small_and_say_what_they_belong_to(folders: dict[str, Path]) -> None:
    adapters = folders["export"] / "adapters"
    assert sorted(path.name for path in adapters.iterdir()) == [
        *("adapters.json", "adapters.npz", "backbone.json", "bundle.json", "model.json", "tokenizer.json"),
    ]
    assert (adapters / "adapters.npz").stat().st_size < (folders["export"] / "model.keras").stat().st_size / 3


def test_on_their_backbone_they_answer_as_the_published_model(folders: dict[str, Path], tmp_path: Path) -> None:
    adapters = shutil.copytree(folders["export"] / "adapters", tmp_path / "carried")
    options = ["--backbone", str(folders["backbone"]), "--out", str(tmp_path / "again")]
    command = [sys.executable, "-m", "pipeline.cli", "models", "merge", str(adapters), *options]
    subprocess.run(command, check=True)  # a process that has not imported any model yet
    again, published = Bundle.load(tmp_path / "again"), Bundle.load(folders["export"])
    np.testing.assert_array_equal(again.answer(TEXTS), published.answer(TEXTS))
    plain = Bundle.load(folders["export"]).model
    assert not any("lora" in weight.name for weight in [*again.model.weights, *plain.weights])
    assert execute(command[3:]) == 2, "a folder that is there is not written over"


def test_another_backbone_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    other = shutil.copytree(folders["backbone"], tmp_path / "other")
    weights = bytearray((other / "backbone.weights.h5").read_bytes())
    weights[-1] ^= 1
    (other / "backbone.weights.h5").write_bytes(weights)
    with pytest.raises(AdapterError, match="is not the backbone of the adapters"):
        rebuild_bundle(folders["export"] / "adapters", other, tmp_path / "out")
    with pytest.raises(AdapterError, match=r"lacks model\.json, backbone\.json"):
        rebuild_bundle(folders["tuned"] / "adapters", other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapters_that_make_another_model_are_not_exported(folders: dict[str, Path], tmp_path: Path) -> None:
    export = shutil.copytree(folders["tuned"] / "bundle", tmp_path / "export")
    other = shutil.copytree(folders["tuned"] / "adapters", tmp_path / "adapters")
    with np.load(other / "adapters.npz") as stored:
        values = {name: stored[name] * 1.01 for name in stored.files}
    np.savez(other / "adapters.npz", **values)
    with pytest.raises(PublishError, match="are not the model that was fine-tuned"):
        export_adapters(export, other, folders["backbone"])


def test_a_recipe_without_adapters_cannot_publish_them() -> None:
    task = {"kind": {"data": {"source": "notes", "label": "kind"}, "finetune": LORA}}
    assert make_recipe(tasks=task, publish={"adapters": True}).publish.adapters
    with pytest.raises(ValueError, match=r"no task trains adapters; set tasks\.<task>\.finetune\.method to lora"):
        make_recipe(publish={"adapters": True})
