"""A fetched preset as the encoder that fine-tuning trains."""

from __future__ import annotations

import math
from pathlib import Path

from models.preset import PresetEncoder, require_keras_hub
from pipeline.errors import BackendError, RecipeError
from pipeline.presets.folder import PRESET, describe
from pipeline.training.processes import num_processes

LEARNING_RATE = 5e-5  # at the width of BERT base (Devlin 2018, arXiv 1810.04805); smaller models take more
WIDTH = 768


def load_preset(folder: Path, dropout: float, fresh: bool = False) -> PresetEncoder:
    """Return the encoder, in the precision that is set.

    Args:
        folder: Path. What `fetch_preset` wrote, or a copy.
        dropout: float. Rate in the backbone.
        fresh: bool. With weights that know nothing, for comparison.

    Raises:
        BackendError: KerasHub is not installed.
    """
    try:
        hub = require_keras_hub()
    except ImportError as error:
        raise BackendError(str(error)) from error
    backbone = hub.models.Backbone.from_preset(str(folder / PRESET), load_weights=not fresh, dropout=dropout)
    found = describe(folder)
    return PresetEncoder(backbone, found["vocabulary_size"], found["separator"], name="encoder")


def check_preset(segments: int, precision: str, devices: int) -> None:
    """Raise unless a preset can be fine-tuned on these rows, in this precision and on these devices.

    Raises:
        RecipeError: it cannot.
    """
    if segments > 1:
        raise RecipeError(
            f"the rows hold up to {segments} texts each, and a KerasHub preset reads one text in a row; run the recipe "
            "from `preprocess` on, which packs them so"
        )
    if precision == "float8":
        raise RecipeError("runtime.precision is float8, which is for models of ours; set mixed_bfloat16 or float32")
    if devices > 1 or num_processes() > 1:
        raise RecipeError(
            f"a KerasHub preset is fine-tuned on one device, and there are {max(devices, num_processes())}; remove "
            "runtime.mesh, and start one process"
        )


def preset_learning_rate(hidden_dim: int) -> float:
    """Return the default peak of a fine-tuning."""
    return LEARNING_RATE * math.sqrt(WIDTH / hidden_dim)
