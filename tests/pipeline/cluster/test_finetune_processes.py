"""Two processes fine-tune as one does: metric, best weights, early stopping, adapters and seeds."""

import json
import shutil
from pathlib import Path

import pytest
from notes_recipe import prepared, run

pytestmark = pytest.mark.slow

FINETUNE = """finetune:
      {global_batch_size: 8, epochs: 6, dropout: 0.0, learning_rate: 0.02, method: lora, lora: {rank: 2}, seeds: 2,
       evaluations: 6, early_stopping_patience: 3, class_weights: balanced}"""


def test_two_processes_equal_one(tmp_path) -> None:
    recipe, workspace = prepared(tmp_path, "jax", steps=20)
    recipe.write_text(recipe.read_text().replace("finetune: {global_batch_size: 4, epochs: 1}", FINETUNE))
    done = run(workspace, "step", "pretrain", str(recipe))
    assert done.returncode == 0, done.stderr
    results = []
    for processes in (1, 2):
        own = Path(shutil.copytree(workspace, tmp_path / str(processes)))
        done = run(own, "step", "finetune", str(recipe), "--task", "kind", "--processes", str(processes))
        assert done.returncode == 0, done.stderr
        (manifest,) = own.glob("artifacts/finetune/*/manifest.json")
        results.append(json.loads(manifest.read_text())["result"])
        files = {path.relative_to(manifest.parent).parts[0] for path in manifest.parent.rglob("*") if path.is_file()}
        assert files == {"adapters", "bundle", "logs", "manifest.json", "seed-logs"}
    one, two = results
    for name in ("seeds", "steps", "kept_step", "trainable_parameters", "optimizer_slots"):
        assert two[name] == one[name]
    for name in ("loss", "validation_loss", "validation_metric"):
        assert two[name] == pytest.approx(one[name], rel=1e-4)
    assert len(set(one["seeds"].values())) == 2
    assert one["validation_metric"] == max(one["seeds"].values())
