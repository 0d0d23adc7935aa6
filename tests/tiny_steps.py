"""Rows, a recipe and preprocessed tokens that the training steps learn from in seconds."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Recipe
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress
from pipeline.steps import GRAPH
from pipeline.store import View

KINDS = {"weather": ("rain", "wind", "snow", "sun"), "trade": ("silk", "salt", "copper", "pepper")}


def make_recipe(**sections: Any) -> Recipe:
    """Two kinds of notes; `sections` overlay the recipe's."""
    recipe: dict[str, Any] = {
        "name": "tiny",
        "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv", "group": "group"}}},
        "preprocess": {
            "split": {"validation": 0.2, "test": 0.2},
            "tokenizer": {"vocabulary_size": 300},
            "sequence_length": 32,
        },
        "model": {"size": "tiny", "num_layers": 1, "hidden_dim": 16, "num_heads": 2, "dropout": 0.1},
        "pretrain": {"steps": 40, "global_batch_size": 8, "learning_rate": 0.02},
        "tasks": {"kind": {"data": {"source": "notes", "label": "kind"}}},
        "runtime": {"micro_batch_size": 4, "precision": "float32"},
    }
    for name, section in sections.items():
        recipe[name] = recipe.get(name, {}) | section
    return Recipe.model_validate(recipe)


def make_tokens(folder: Path) -> Path:
    """Return what `preprocess` makes of 160 notes."""
    chance = random.Random(5)
    columns: dict[str, list[str]] = {"row_id": [], "text": [], "group": [], "kind": []}
    for number in range(160):
        kind = chance.choice(list(KINDS))
        columns["row_id"].append(f"notes:{number}")
        columns["text"].append(f"{' and '.join(chance.sample(KINDS[kind], 2))} on day {number}")
        columns["group"].append(str(number))
        columns["kind"].append(kind)
    rows = folder / "rows" / "notes"
    rows.mkdir(parents=True)
    pq.write_table(pa.table(columns), rows / "00000.parquet")
    tokens = folder / "tokens"
    tokens.mkdir()
    preprocess(make_recipe(), folder, tokens, SilentProgress())
    return tokens


def make_backbone(folder: Path, tokens: Path, recipe: Recipe) -> Path:
    """Write a backbone whose weights no initialiser gives."""
    import numpy as np

    from pipeline.backbone import build_encoder, save_backbone
    from pipeline.data.tokens.tokenizer import load_tokenizer
    from pipeline.dimensions import dimensions_of

    tokenizer = load_tokenizer(tokens / "tokenizer.json")
    encoder = build_encoder(dimensions_of(recipe.model), tokenizer.get_vocab_size(), 0.0)
    random = np.random.default_rng(0)
    encoder.set_weights([random.normal(size=w.shape) * 0.2 + 0.1 for w in encoder.get_weights()])
    save_backbone(encoder, folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def finetune_notes(
    tokens: Path, backbone: Path, out: Path, progress: Any = None, sections: Any = None, **config: Any
) -> Any:
    """Fine-tune the task of the notes for some epochs, and return the result; `sections` overlay the recipe's."""
    from pipeline.finetune import finetune

    out.mkdir(exist_ok=True)
    defaults = {"epochs": 12, "global_batch_size": 8, "learning_rate": 0.01}
    task = {"data": {"source": "notes", "label": "kind"}, "finetune": defaults | config}
    recipe = make_recipe(tasks={"kind": task}, **(sections or {}))
    return finetune(view(recipe, "finetune", "kind"), "kind", tokens, backbone, out, progress or SilentProgress())


def view(recipe: Recipe, step: str, task: str | None = None) -> View:
    """Return what the step declares to read, and nothing else."""
    return View(recipe, GRAPH[step].reads_of(task), GRAPH[step].uses)
