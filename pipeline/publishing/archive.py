"""What a saved .keras model says of itself without being opened: its precision, and the packages that it needs."""

from __future__ import annotations

import zipfile
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    *("ftfy", "keras", "nervaluate", "numpy", "phonenumbers", "pyarrow", "pydantic-settings", "python-stdnum", "rich"),
    "tokenizers",
)
PRESET_ENCODER = '"tradewind>PresetEncoder"'  # needs KerasHub to be loaded


def precision_of(model: Path) -> str:
    """Return the dtype policy the saved model computes in, the coarsest when its layers differ."""
    config = _config(model)
    return next((name for name in ("mixed_bfloat16", "mixed_float16") if f'"{name}"' in config), "float32")


def packages_of(model: Path, backend: str) -> dict[str, str]:
    """Return name and version of every package that opening the model on a backend needs."""
    return {name: version(name) for name in (*PACKAGES, backend, *_hub(model))}


def _hub(model: Path) -> tuple[str, ...]:
    """Return the package that a model with a preset for a backbone needs; what is damaged, the proof will refuse."""
    return ("keras-hub",) if zipfile.is_zipfile(model) and PRESET_ENCODER in _config(model) else ()


def _config(model: Path) -> str:
    """Return how the saved model is made up, as Keras writes it."""
    with zipfile.ZipFile(model) as archive:
        return archive.read("config.json").decode("utf-8")
