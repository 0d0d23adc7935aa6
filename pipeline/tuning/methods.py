"""The recipe's `finetune.method`, carried out on a built model."""

from __future__ import annotations

import keras

from models.freezing import HeadOnly, depths, freeze, train_top
from models.lora import add_adapters
from models.parallel import MeshShape
from pipeline.config import Finetune
from pipeline.errors import BackendError, RecipeError
from pipeline.training.layer_rates import Share, shares_by_depth
from pipeline.training.processes import num_processes


def apply_method(
    model: keras.Model, backbone: keras.Model, config: Finetune, precision: str, mesh: MeshShape
) -> keras.Model:
    """Freeze what the method does not train, and return what is trained: the model, or of feature extraction its head.

    Args:
        model: keras.Model. Built, on the mesh; for feature extraction with `pool` and `answer`.
        backbone: keras.Model. The pretrained layer of it.
        config: Finetune. Of the recipe.
        precision: str. The recipe's, no `auto`.
        mesh: MeshShape. Of the devices.

    Raises:
        RecipeError: the method does not go with the model or the precision.
        BackendError: it does not go with several devices.
    """
    if config.method == "full":
        return model
    if precision == "float8":
        raise RecipeError(
            f"runtime.precision is float8, which quantises kernels, and finetune.method {config.method} freezes them; "
            "set runtime.precision to mixed_bfloat16, or the method to full"
        )
    try:
        match config.method:
            case "partial":
                train_top(backbone, config.trainable_layers, config.train_only == "norms")
            case "lora":
                add_adapters(backbone, config.lora.rank, config.lora.alpha, config.lora.targets)
            case "feature_extraction":
                return _head(model, backbone, mesh)
    except ValueError as error:
        raise RecipeError(f"finetune.method {config.method}: {error}") from error
    return model


def layer_shares(trained: keras.Model, backbone: keras.Model, config: Finetune, total_steps: int) -> tuple[Share, ...]:
    """Return what each trainable variable gets of the learning rate; nothing when all get the same.

    Raises:
        RecipeError: the backbone has no depth to tell its weights apart by.
    """
    if config.layer_decay is None and not config.gradual_unfreezing:
        return ()
    try:
        depth_of = depths(backbone)
    except ValueError as error:
        raise RecipeError(f"finetune.layer_decay or gradual_unfreezing: {error}") from error
    found = [depth_of.get(id(variable), 0) for variable in trained.trainable_variables]
    return shares_by_depth(found, config.layer_decay, config.gradual_unfreezing, total_steps)


def _head(model: keras.Model, backbone: keras.Model, mesh: MeshShape) -> keras.Model:
    if mesh.devices > 1 or num_processes() > 1:
        raise BackendError(
            f"finetune.method is feature_extraction, which runs on one device, and runtime.mesh has {mesh.devices}; "
            "remove runtime.mesh: the head trains in seconds"
        )
    if not (hasattr(model, "pool") and hasattr(model, "answer")):
        raise RecipeError(
            f"finetune.method is feature_extraction, and {type(model).__name__} answers every token, whose features "
            "would be larger than the model; set the method to partial with trainable_layers: 1, or to lora"
        )
    freeze(backbone)
    return HeadOnly(model, backbone)
