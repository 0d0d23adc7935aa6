"""A checkpoint, in however many parts, as the one file that a pretraining ends with."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import keras

from models.language_models import LanguageModel
from models.size import Dimensions
from pipeline.backbone import TOKENIZER, build_language_model, save_backbone
from pipeline.config import Pretrain
from pipeline.errors import CheckpointError
from pipeline.training.optimizer import averages, make_optimizer
from pipeline.training.pieces import Stored, assemble, read_index
from pipeline.training.snapshot import read_sound


def export_backbone(checkpoint: Path, out: Path) -> int:
    """Write the backbone of a pretraining's checkpoint: its averaged weights where they are kept.

    Nothing but the weights is read, one after the other, so a process without the accelerators of the training will do.

    Args:
        checkpoint: Path. Such as `workspace/partial/pretrain/FINGERPRINT/checkpoints/step-00000100`.
        out: Path. A new folder; gets backbone.weights.h5, backbone.json and tokenizer.json, as `pretrain.start_from`
            wants them.

    Returns:
        The step of the checkpoint.

    Raises:
        CheckpointError: it is no whole checkpoint of a pretraining, or `out` exists.
    """
    if out.exists():
        raise CheckpointError(f"{out} exists; name a folder that does not, so that nothing is written over")
    description = read_sound(checkpoint)
    if description is None or description["identity"].get("step") != "pretrain":
        raise CheckpointError(
            f"{checkpoint} is no whole checkpoint of a pretraining; expected a folder such as "
            "workspace/partial/pretrain/FINGERPRINT/checkpoints/step-00000100"
        )
    identity = description["identity"]
    dimensions = Dimensions(**{field.name: identity[field.name] for field in fields(Dimensions)})
    model = build_language_model(
        dimensions, identity["vocabulary_size"], identity["dropout"], identity.get("groups", 0)
    )
    _fill(model, identity, read_index(sorted(checkpoint.glob("variables*.npz"))))
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_backbone(model.backbone, draft)
    shutil.copy(checkpoint.parents[1] / TOKENIZER, draft / TOKENIZER)
    draft.replace(out)
    step: int = description["step"]
    return step


def _fill(model: LanguageModel, identity: dict[str, object], index: dict[int, Stored]) -> None:
    for number, variable in enumerate(model.trainable_variables):
        variable.assign(_read(index[number], variable))
    if identity["ema_decay"] is None:
        return
    config = Pretrain.model_validate({"optimizer": identity["optimizer"], "ema_decay": identity["ema_decay"]})
    optimizer = make_optimizer(config, 1.0, 1_000_000, model)
    number_of = {id(v): len(model.variables) + place for place, v in enumerate(optimizer.variables)}
    for variable, average in averages(optimizer):
        variable.assign(_read(index[number_of[id(average)]], variable))


def _read(stored: Stored, variable: keras.Variable) -> object:
    if stored.shape != tuple(variable.shape):
        raise CheckpointError(
            f"the checkpoint has the shape {stored.shape} for {variable.path}, which is {tuple(variable.shape)} in the "
            "model that it describes; it was written by another version"
        )
    return assemble(stored, variable.value)
