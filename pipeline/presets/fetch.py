"""Asking a process with KerasHub for a preset, or for what its tokenizer says; see `pipeline.presets.worker`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError

WORKER = "pipeline.presets.worker"


def fetch_preset(address: str, out: Path) -> None:
    """Write the preset into an existing folder, as `pipeline.presets.folder` describes it.

    Raises:
        RecipeError: KerasHub is not installed or cannot load it, or it cannot be used here.
    """
    _ask({"address": address, "folder": str(out)}, address)


def prove_tokenizer(folder: Path, texts: Sequence[str]) -> None:
    """Compare the converted tokenizer of a fetched preset with KerasHub's own on texts.

    Raises:
        RecipeError: they differ, or KerasHub is not installed.
    """
    _ask({"folder": str(folder), "texts": list(texts)}, str(folder))


def require_installed(start_from: str) -> None:
    """Raise RecipeError when KerasHub is not installed."""
    if importlib.util.find_spec("keras_hub") is None:
        raise RecipeError(
            f"pretrain.start_from is {start_from!r}, a KerasHub preset, and KerasHub is not installed; install it "
            "(pip install 'tradewind[hub]'), or start from a backbone of ours"
        )


def _ask(request: dict[str, Any], start_from: str) -> None:
    require_installed(start_from)
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "question.json"), Path(folder, "answer.json")
        question.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", WORKER, str(question), str(answer)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            raise RecipeError(
                f"pretrain.start_from is {start_from!r}, which could not be loaded (exit {process.returncode}): "
                f"{' | '.join(process.stderr.strip().splitlines()[-3:])}"
            )
        if error := json.loads(answer.read_text(encoding="utf-8")).get("error"):
            raise RecipeError(f"pretrain.start_from is {start_from!r}: {error}")
