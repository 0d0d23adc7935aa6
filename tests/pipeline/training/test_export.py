import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_steps import make_recipe, make_tokens, view

from pipeline.backbone import load_encoder
from pipeline.errors import CheckpointError
from pipeline.pretrain import pretrain
from pipeline.progress import SilentProgress
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.export import export_backbone


@pytest.fixture(scope="module", params=[None, 0.5], ids=["weights", "averages"])
def trained(request, tmp_path_factory) -> Path:
    """A finished pretraining that has kept its checkpoints."""
    folder = tmp_path_factory.mktemp("export")
    recipe = make_recipe(pretrain={"steps": 6, "ema_decay": request.param})
    out = folder / "out"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "clear", lambda checkpoints: checkpoints.wait())
        pretrain(view(recipe, "pretrain"), make_tokens(folder), out, SilentProgress())
    return out


def last_checkpoint(trained: Path) -> Path:
    return max((trained / "checkpoints").glob("step-*"))


def test_the_export_of_the_last_checkpoint_is_what_the_training_ended_with(trained, tmp_path) -> None:
    assert export_backbone(last_checkpoint(trained), tmp_path / "early") == 6
    ended, exported = (load_encoder(folder, 0.0) for folder in (trained, tmp_path / "early"))
    for one, other in zip(ended.variables, exported.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    for name in ("backbone.json", "tokenizer.json"):
        assert (tmp_path / "early" / name).read_bytes() == (trained / name).read_bytes()


def test_a_checkpoint_in_parts_gives_the_same_file(trained, tmp_path) -> None:
    """Cut as several processes would have written it: each variable along its first dimension, where that is even."""
    parts = tmp_path / "partial" / "checkpoints" / last_checkpoint(trained).name
    shutil.copytree(last_checkpoint(trained), parts)
    shutil.copy(trained / "tokenizer.json", tmp_path / "partial" / "tokenizer.json")
    halves: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    with np.load(parts / "variables.npz") as stored:
        for name in stored.files:
            value = stored[name]
            if name == "random" or not value.ndim or len(value) % 2:
                halves[0][name] = value
                continue
            middle, rest = len(value) // 2, "".join(f".0-{length}" for length in value.shape[1:])
            halves[0][f"{name}.0-{middle}{rest}"] = value[:middle]
            halves[1][f"{name}.{middle}-{len(value)}{rest}"] = value[middle:]
    halves[1]["random"] = halves[0]["random"]
    from pipeline.store.files import Hasher

    description = json.loads((parts / "checkpoint.json").read_text())
    for file, half in zip(("variables.npz", "variables-00001.npz"), halves, strict=True):
        np.savez(parts / file, **half)
        description["sha256"][file] = Hasher().sha256(parts / file)
    (parts / "checkpoint.json").write_text(json.dumps(description))
    export_backbone(parts, tmp_path / "from parts")
    export_backbone(last_checkpoint(trained), tmp_path / "whole")
    ended, exported = (load_encoder(tmp_path / name, 0.0) for name in ("whole", "from parts"))
    for one, other in zip(ended.variables, exported.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))


def test_nothing_is_written_over_and_what_is_no_checkpoint_is_refused(trained, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="exists; name a folder that does not"):
        export_backbone(last_checkpoint(trained), tmp_path)
    with pytest.raises(CheckpointError, match=r"is no whole checkpoint of a pretraining; expected a folder such as"):
        export_backbone(trained, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
