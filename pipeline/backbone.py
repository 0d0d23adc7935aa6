"""The pretrained backbone as files: what a pretraining writes, and what a fine-tuning or another one starts from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from models.backbones import Backbone, Decoder, Encoder, EncoderDecoder
from models.language_models import (
    CausalLanguageModel,
    GroupedLanguageModel,
    LanguageModel,
    MaskedLanguageModel,
    SpanLanguageModel,
)
from models.preset import PresetEncoder
from models.size import Dimensions
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.dimensions import architecture_of, require_architecture
from pipeline.presets.folder import PRESET, describe, is_fetched
from pipeline.presets.load import load_preset

WEIGHTS, CONFIG, TOKENIZER, STABLE = "backbone.weights.h5", "backbone.json", "tokenizer.json", "stable"
BACKBONES: dict[str, type[Any]] = {"encoder": Encoder, "decoder": Decoder, "encoder_decoder": EncoderDecoder}
LANGUAGE_MODELS: dict[str, type[LanguageModel]] = {
    "encoder": MaskedLanguageModel,
    "decoder": CausalLanguageModel,
    "encoder_decoder": SpanLanguageModel,
}


def build_language_model(
    dimensions: Dimensions, vocabulary_size: int, dropout: float, groups: int = 0
) -> LanguageModel:
    """Return the model that pretraining trains, with fresh weights, in the precision that is set.

    With `groups`, the number of them, it is an encoder that tells these apart too.
    """
    backbone: Any = build_whole(dimensions, vocabulary_size, dropout)
    model = GroupedLanguageModel(backbone, groups) if groups else LANGUAGE_MODELS[dimensions.architecture](backbone)
    model.build_from_config({})
    return model


def build_whole(dimensions: Dimensions, vocabulary_size: int, dropout: float) -> Backbone | EncoderDecoder:
    """Return the backbone of the model's architecture, with fresh weights."""
    arguments = _arguments(dimensions, vocabulary_size)
    backbone: Backbone | EncoderDecoder = build_backbone(dimensions.architecture, arguments, dropout)
    return backbone


def build_encoder(dimensions: Dimensions, vocabulary_size: int, dropout: float) -> Backbone:
    """Return what fine-tuning reads texts with, fresh: the encoder, or the decoder where there is no encoder."""
    single = "decoder" if dimensions.architecture == "decoder" else "encoder"
    backbone: Backbone = build_backbone(single, _arguments(dimensions, vocabulary_size), dropout)
    return backbone


def save_backbone(backbone: Backbone | EncoderDecoder, folder: Path) -> None:
    """Write weights and architecture into an existing folder; any backend can read them."""
    backbone.save_weights(folder / WEIGHTS)
    kind = next(name for name, kind in BACKBONES.items() if type(backbone) is kind)
    architecture = {key: value for key, value in backbone.architecture().items() if key != "dropout"}
    (folder / CONFIG).write_text(json.dumps({"architecture": kind, **architecture}, indent=2))


def load_backbone(folder: Path, dropout: float) -> Backbone | EncoderDecoder:
    """Return the whole of what was pretrained, with a dropout rate of its own."""
    architecture = describe(folder)
    backbone: Backbone | EncoderDecoder = build_backbone(architecture.pop("architecture"), architecture, dropout)
    backbone.load_weights(folder / WEIGHTS)
    return backbone


def load_encoder(folder: Path, dropout: float) -> Backbone | PresetEncoder:
    """Return what fine-tuning reads texts with, pretrained, with a dropout rate of its own."""
    if is_fetched(folder):
        return load_preset(folder, dropout)
    architecture = describe(folder)
    kind = architecture.pop("architecture")
    backbone: Any = load_backbone(folder, dropout)
    if kind != "encoder_decoder":
        single: Backbone = backbone
        return single
    # The sentinels of lost spans stand behind the tokenizer's ids; no text that is classified has one.
    tokens = load_tokenizer(folder / TOKENIZER).get_vocab_size()
    encoder: Backbone = build_backbone("encoder", architecture | {"vocabulary_size": tokens}, dropout)
    for own, pretrained in zip(encoder.trainable_variables, backbone.encoder.trainable_variables, strict=True):
        own.assign(pretrained[: own.shape[0]])
    return encoder


def continue_from(folder: Path, model: LanguageModel, dimensions: Dimensions) -> None:
    """Give the model the weights of an earlier pretraining's backbone.

    Args:
        folder: Path. The artifact of that pretraining.
        model: LanguageModel. Built.
        dimensions: Dimensions. Of the model.

    Raises:
        RecipeError: it has another architecture.
    """
    wanted = {"architecture": dimensions.architecture, **model.backbone.architecture()}
    wanted.pop("dropout")
    require_architecture(describe(folder), wanted)
    model.backbone.load_weights(folder / WEIGHTS)


def hand_on(start: Path, out: Path) -> int:
    """Copy a backbone as it is, once it is known to be whole, and return the number of its weights."""
    for name in (WEIGHTS, CONFIG, TOKENIZER):
        if (start / name).is_file():
            shutil.copyfile(start / name, out / name)
    if (start / PRESET).is_dir():
        shutil.copytree(start / PRESET, out / PRESET, dirs_exist_ok=True)
    return int(load_encoder(out, 0.0).count_params())


def _arguments(dimensions: Dimensions, vocabulary_size: int) -> dict[str, Any]:
    return {"vocabulary_size": vocabulary_size, **architecture_of(dimensions)}


def build_backbone(kind: str, architecture: dict[str, Any], dropout: float) -> Any:
    """Return a backbone with fresh weights, in the precision that is set."""
    backbone = BACKBONES[kind](**architecture, dropout=dropout, name=kind)
    backbone.build_from_config({})
    return backbone
