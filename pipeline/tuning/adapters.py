"""Low-rank adapters as files of their own: what a fine-tuning changed, to be put on the same backbone again.

adapters.npz    the adapters and the head, by the place of each in the model
adapters.json   their rank, strength and targets
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from models.lora import adapted, add_adapters
from pipeline.config import Lora
from pipeline.errors import TradewindError

WEIGHTS, CONFIG = "adapters.npz", "adapters.json"


class AdapterError(TradewindError):
    """A folder holds no adapters, or those of another model."""


def save_adapters(model: keras.Model, lora: Lora, folder: Path) -> None:
    """Write the adapters and the head of a model, which has not been merged yet, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {name: np.asarray(keras.ops.convert_to_numpy(v)) for name, v in _trained(model).items()}
    np.savez(folder / WEIGHTS, allow_pickle=False, **values)
    (folder / CONFIG).write_text(json.dumps(lora.model_dump(mode="json"), indent=2))


def load_adapters(model: keras.Model, backbone: keras.Model, folder: Path) -> None:
    """Put saved adapters, and the head that was trained with them, on a model with the backbone that they belong to.

    Args:
        model: keras.Model. Built, without adapters.
        backbone: keras.Model. The layer of it that gets them.
        folder: Path. What `save_adapters` wrote.

    Raises:
        AdapterError: the folder has none, or they do not fit the model.
    """
    if missing := [name for name in (WEIGHTS, CONFIG) if not (folder / name).is_file()]:
        raise AdapterError(
            f"{folder} lacks {', '.join(missing)}; give the `adapters` folder of a fine-tuning with method lora"
        )
    lora = Lora.model_validate_json((folder / CONFIG).read_text())
    add_adapters(backbone, lora.rank, lora.alpha, lora.targets)
    variables = _trained(model)
    with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
        expected = {name: tuple(variable.shape) for name, variable in variables.items()}
        found = {name: stored[name].shape for name in stored.files}
        if wrong := sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)):
            raise AdapterError(
                f"{folder} holds adapters of another model: {wrong[0]} has the shape {found.get(wrong[0])}, and "
                f"{expected.get(wrong[0])} here ({len(wrong)} differ); load the backbone that they were trained on"
            )
        for name, variable in variables.items():
            variable.assign(stored[name])


def _trained(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the trainable variables by name; an adapter's own path does not say beside which kernel it lies."""
    named = {
        f"{layer._kernel.path.removesuffix('kernel')}{variable.name}": variable
        for layer in adapted(model)
        for variable in (layer.lora_kernel_a, layer.lora_kernel_b)
    }
    known = {id(variable) for variable in named.values()}
    head = [variable for variable in model.trainable_variables if id(variable) not in known]
    return named | {"/".join(["head", *variable.path.split("/")[-2:]]): variable for variable in head}
