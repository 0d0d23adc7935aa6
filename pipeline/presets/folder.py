"""What a fetched preset looks like, known without KerasHub.

backbone.json     what kind of backbone it is, as a pretraining writes it for ours
tokenizer.json    its tokenizer, of Hugging Face tokenizers
preset/           the preset as KerasHub saves it: config.json, model.weights.h5, tokenizer.json, assets/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.config import Pretrain

PRESET, DESCRIPTION, TOKENIZER = "preset", "backbone.json", "tokenizer.json"
SCHEMES = ("hub://", "hf://", "kaggle://")


def is_address(start_from: str) -> bool:
    """Return whether it names a preset that KerasHub knows how to fetch."""
    return start_from.startswith(SCHEMES)


def is_saved_preset(folder: Path) -> bool:
    """Return whether a folder is what KerasHub's `save_to_preset` writes, or a checkpoint that KerasHub can convert."""
    return (folder / "config.json").is_file() and not (folder / DESCRIPTION).exists()


def describe(folder: Path) -> dict[str, Any]:
    """Return the description of a backbone, ours or a fetched preset's; nothing where there is none."""
    path = folder / DESCRIPTION
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def is_fetched(folder: Path) -> bool:
    """Return whether a folder holds a fetched preset, rather than a backbone of ours."""
    return describe(folder).get("architecture") == PRESET


def trains_further(config: Pretrain, start: Path | None) -> bool:
    """Return whether pretraining trains, rather than hands on the backbone that it starts from."""
    return start is None or (config.train and not is_fetched(start))
