"""Sentences of a few words and their word-by-word translations, which a tiny model learns in seconds."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Recipe
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress

WORDS = {
    "rain": "Regen",
    "wind": "Wind",
    "silk": "Seide",
    "salt": "Salz",
    "sun": "Sonne",
    "sea": "Meer",
    "day": "Tag",
    "and": "und",
}


def translated(text: str) -> str:
    return " ".join(WORDS[word] for word in text.split())


def sentences(rows: int, seed: int = 3) -> list[str]:
    """Distinct sentences."""
    chance, found = random.Random(seed), dict[str, None]()
    while len(found) < rows:
        found[" ".join(chance.choice(list(WORDS)) for _ in range(chance.randint(2, 5)))] = None
    return list(found)


def make_recipe(architecture: str = "encoder_decoder", **sections: Any) -> Recipe:
    """A task `translate`; `sections` overlay those of the task."""
    task = {
        "data": {"source": "notes", "label": "target", "kind": "generation"} | sections.pop("data", {}),
        "finetune": {"initialize": "scratch", "epochs": 30, "global_batch_size": 8, "learning_rate": 0.01}
        | {"dropout": 0.0, "label_smoothing": 0.1}
        | sections.pop("finetune", {}),
        "gate": {"baseline": "warning"},
        "decode": {"max_new_tokens": 24},
    }
    recipe: dict[str, Any] = {
        "name": "words",
        "data": {"sources": {"notes": {"kind": "files", "path": "notes.jsonl"}}},
        "preprocess": {
            "split": {"validation": 0.1, "test": 0.1},
            "tokenizer": {"vocabulary_size": 330},
            "sequence_length": 48,
        },
        "model": {"architecture": architecture, "num_layers": 1, "hidden_dim": 48, "num_heads": 2},
        "pretrain": {"steps": 4, "global_batch_size": 8},
        "tasks": {"translate": task | sections},
        "runtime": {"backend": "jax", "precision": "float32", "tracking": []},
    }
    return Recipe.model_validate(recipe)


def make_tokens(folder: Path, recipe: Recipe, rows: int = 400) -> Path:
    """Return what `preprocess` makes of the sentences."""
    table = [
        {"row_id": f"notes:{number}", "text": text, "group": str(number), "target": translated(text)}
        for number, text in enumerate(sentences(rows))
    ]
    (folder / "rows" / "notes").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(table), folder / "rows" / "notes" / "00000.parquet")
    tokens = folder / "tokens"
    tokens.mkdir()
    preprocess(recipe, folder, tokens, SilentProgress())
    return tokens
