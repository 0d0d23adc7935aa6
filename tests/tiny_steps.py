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
        "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv"}}},
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


def view(recipe: Recipe, step: str, task: str | None = None) -> View:
    """Return what the step declares to read, and nothing else."""
    return View(recipe, GRAPH[step].reads_of(task), GRAPH[step].uses)
