"""The corpus of a recipe as far as it is known: from what a run has preprocessed, or from what is told."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cost import NO_GROUPS, GroupHead
from pipeline.config import Recipe
from pipeline.errors import RecipeError
from pipeline.store.runs import Runs

DECIDES = ("seed", "data", "preprocess")
SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Corpus:
    """Packed rows of a corpus.

    Attributes:
        rows: int. Packed rows.
        vocabulary_size: int or None. Tokens of its tokenizer; None: not known yet.
        source: str. How that is known, in words.
        groups: GroupHead. What there is to tell where `pretrain.group_weight` is set.
    """

    rows: int
    vocabulary_size: int | None
    source: str
    groups: GroupHead = NO_GROUPS


def find_corpus(recipe: Recipe, workspace: Path) -> Corpus | None:
    """Return the corpus that the newest run of the same data and preprocessing has made; None when there is none.

    Sources that have changed since then are not noticed: finding that out means reading them.

    Args:
        recipe: Recipe. Its `seed`, `data`, `preprocess`, and what its tasks read.
        workspace: Path. The store's folder.
    """
    wanted = _decisive(recipe.model_dump(mode="json"))
    for record in Runs(workspace).list():
        entry = record["nodes"].get("preprocess", {})
        folder = workspace / "artifacts" / str(entry.get("reference"))
        index, tokenizer = folder / "corpus" / "train" / "index.json", folder / "tokenizer.json"
        if entry.get("error") or not index.is_file() or not tokenizer.is_file():
            continue
        if _decisive(record["recipe"]) == wanted:
            told = json.loads(index.read_text(encoding="utf-8"))
            source = f"the corpus that run {record['run_id']} has preprocessed"
            groups = _groups_of(index.parent, told) if recipe.pretrain.group_weight else NO_GROUPS
            return Corpus(told["rows"], _tokens_of(tokenizer), source, groups)
    return None


def read_tokens(text: str) -> int:
    """Return the number of `500M`, `1.5B`, `2e9` or `20000000`.

    Raises:
        RecipeError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e\d+)?)\s*([kmgbt]?)\s*", text.replace("_", ""), re.IGNORECASE)
    tokens = round(float(found[1]) * SCALES[found[2].lower()]) if found else 0
    if tokens < 1:
        raise RecipeError(f"--tokens: received {text!r}; expected a number of tokens, such as 500M, 1.5B or 2e9")
    return tokens


def told_corpus(tokens: int, sequence_length: int) -> Corpus:
    """Return the corpus of so many tokens, without the padding that packing may leave."""
    return Corpus(-(-tokens // sequence_length), None, f"--tokens {tokens:,}")


def vocabulary_of(recipe: Recipe) -> tuple[int, str]:
    """Return the size of the recipe's vocabulary before anything is preprocessed, and how it is known."""
    config = recipe.preprocess.tokenizer
    if config.kind == "file" and config.path and Path(config.path).is_file():
        from pipeline.data.tokens.tokenizer import make_tokenizer

        return int(make_tokenizer([], config).get_vocab_size()), f"vocabulary of {config.path}"
    if config.kind == "start":
        tokenizer = Path(recipe.pretrain.start_from or "") / "tokenizer.json"
        if tokenizer.is_file():
            return _tokens_of(tokenizer), f"vocabulary of {tokenizer}"
        known = f"vocabulary of {config.vocabulary_size:,} tokens, not knowing that of {recipe.pretrain.start_from}"
        return config.vocabulary_size, known
    key = "preprocess.tokenizer.vocabulary_size"
    return config.vocabulary_size, f"vocabulary of {config.vocabulary_size:,} tokens, the most that {key} allows"


def _decisive(values: dict[str, Any]) -> list[Any]:
    tasks = {name: task.get("data") for name, task in values.get("tasks", {}).items()}
    return [*(values.get(key) for key in DECIDES), tasks]


def _groups_of(folder: Path, index: dict[str, Any]) -> GroupHead:
    from pipeline.data.tokens.groups import read_groups

    return GroupHead(int(read_groups(folder).max()) + 1, index["segments_per_row"] / index["sequence_length"])


def _tokens_of(tokenizer: Path) -> int:
    from pipeline.data.tokens.tokenizer import load_tokenizer

    return int(load_tokenizer(tokenizer).get_vocab_size())
