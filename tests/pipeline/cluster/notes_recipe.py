"""A recipe that trains in seconds, and a command line in a process of its own."""

import os
import random
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

KINDS = {"weather": ("rain", "wind", "snow", "sun"), "trade": ("silk", "salt", "copper", "pepper")}
RECIPE = """
name: notes
data: {{sources: {{notes: {{kind: files, path: {path}}}}}}}
preprocess: {{split: {{validation: 0.2, test: 0.2}}, tokenizer: {{vocabulary_size: 300}}, sequence_length: 32}}
model: {{size: tiny, num_layers: 1, hidden_dim: 16, num_heads: 2, dropout: 0.1}}
pretrain: {{steps: {steps}, global_batch_size: 8, learning_rate: 0.01, evaluations: 2}}
tasks: {{kind: {{data: {{source: notes, label: kind}}, finetune: {{global_batch_size: 4, epochs: 1}}}}}}
runtime: {{backend: {backend}, micro_batch_size: 2, precision: float32, checkpoint_seconds: 1, tracking: []}}
"""


def write_recipe(folder: Path, backend: str, steps: int = 60) -> Path:
    chance = random.Random(5)
    lines = ["text,kind"]
    for number in range(200):
        kind = chance.choice(list(KINDS))
        lines.append(f"{' and '.join(chance.sample(KINDS[kind], 2))} on day {number},{kind}")
    (folder / "notes.csv").write_text("\n".join(lines))
    recipe = folder / "notes.yaml"
    recipe.write_text(RECIPE.format(path=folder / "notes.csv", backend=backend, steps=steps))
    return recipe


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", *arguments]


def environment(workspace: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    return kept | {"TRADEWIND_WORKSPACE": str(workspace), "TF_CPP_MIN_LOG_LEVEL": "2"} | more


def run(workspace: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(workspace, **more), capture_output=True, text=True, timeout=400
    )


def prepared(folder: Path, backend: str, steps: int = 60) -> tuple[Path, Path]:
    """Return a recipe, and a workspace that has its tokens."""
    recipe, workspace = write_recipe(folder, backend, steps), folder / "prepared"
    for step in ("validate", "drift", "preprocess"):
        done = run(workspace, "step", step, str(recipe))
        assert done.returncode == 0, done.stderr
    return recipe, workspace


def weights(workspace: Path) -> dict[str, np.ndarray]:
    """Return the weights that a pretraining has ended with, by name."""
    (file,) = workspace.glob("artifacts/pretrain/*/backbone.weights.h5")
    found: dict[str, np.ndarray] = {}
    with h5py.File(file) as stored:
        stored.visititems(lambda name, item: found.update({name: item[:]} if isinstance(item, h5py.Dataset) else {}))
    return found
