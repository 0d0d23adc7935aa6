"""The pretrained backbone as files: what a pretraining writes, and what a fine-tuning or another one starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.backbones import Backbone, Decoder, Encoder, EncoderDecoder
from models.language_models import CausalLanguageModel, LanguageModel, MaskedLanguageModel, SpanLanguageModel
from models.size import Dimensions
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.errors import RecipeError

WEIGHTS, CONFIG, TOKENIZER, STABLE = "backbone.weights.h5", "backbone.json", "tokenizer.json", "stable"
BACKBONES: dict[str, type[Any]] = {"encoder": Encoder, "decoder": Decoder, "encoder_decoder": EncoderDecoder}
LANGUAGE_MODELS: dict[str, type[LanguageModel]] = {
    "encoder": MaskedLanguageModel,
    "decoder": CausalLanguageModel,
    "encoder_decoder": SpanLanguageModel,
}


def build_language_model(dimensions: Dimensions, vocabulary_size: int, dropout: float) -> LanguageModel:
    """Return the model that pretraining trains, with fresh weights, in the precision that is set."""
    backbone = build_backbone(dimensions.architecture, architecture_of(dimensions, vocabulary_size), dropout)
    model = LANGUAGE_MODELS[dimensions.architecture](backbone)
    model.build_from_config({})
    return model


def build_encoder(dimensions: Dimensions, vocabulary_size: int, dropout: float) -> Backbone:
    """Return what fine-tuning reads texts with, fresh: the encoder, or the decoder where there is no encoder."""
    single = "decoder" if dimensions.architecture == "decoder" else "encoder"
    backbone: Backbone = build_backbone(single, architecture_of(dimensions, vocabulary_size), dropout)
    return backbone


def save_backbone(backbone: Backbone | EncoderDecoder, folder: Path) -> None:
    """Write weights and architecture into an existing folder; any backend can read them."""
    backbone.save_weights(folder / WEIGHTS)
    kind = next(name for name, kind in BACKBONES.items() if type(backbone) is kind)
    architecture = {key: value for key, value in backbone.architecture().items() if key != "dropout"}
    (folder / CONFIG).write_text(json.dumps({"architecture": kind, **architecture}, indent=2))


def load_backbone(folder: Path, dropout: float) -> Backbone | EncoderDecoder:
    """Return the whole of what was pretrained, with a dropout rate of its own."""
    architecture = json.loads((folder / CONFIG).read_text())
    backbone: Backbone | EncoderDecoder = build_backbone(architecture.pop("architecture"), architecture, dropout)
    backbone.load_weights(folder / WEIGHTS)
    return backbone


def load_encoder(folder: Path, dropout: float) -> Backbone:
    """Return what fine-tuning reads texts with, pretrained, with a dropout rate of its own."""
    architecture = json.loads((folder / CONFIG).read_text())
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
        RecipeError: there is none, or it has another architecture.
    """
    if not (folder / CONFIG).is_file():
        raise RecipeError(
            f"pretrain.start_from is {str(folder)!r}, where there is no {CONFIG}; give the folder of an artifact of "
            "`pretrain`, such as workspace/artifacts/pretrain/FINGERPRINT"
        )
    found = json.loads((folder / CONFIG).read_text())
    wanted = {"architecture": dimensions.architecture, **model.backbone.architecture()}
    wanted.pop("dropout")
    differences = [f"{key} {found.get(key)!r} -> {value!r}" for key, value in wanted.items() if found.get(key) != value]
    if differences:
        raise RecipeError(
            f"pretrain.start_from has another architecture than this recipe's model: {', '.join(differences)}; set "
            "`model` as in the recipe it came from"
        )
    model.backbone.load_weights(folder / WEIGHTS)


def architecture_of(dimensions: Dimensions, vocabulary_size: int) -> dict[str, Any]:
    """Return the constructor arguments of a backbone, but for its dropout."""
    return {
        "vocabulary_size": vocabulary_size,
        "num_layers": dimensions.num_layers,
        "hidden_dim": dimensions.hidden_dim,
        "num_heads": dimensions.num_heads,
        "num_key_value_heads": dimensions.num_key_value_heads,
        "feedforward_dim": dimensions.feedforward_dim,
        "feedforward": dimensions.feedforward,
        "query_key_norm": dimensions.query_key_norm,
        "tie_embeddings": dimensions.tie_embeddings,
    }


def build_backbone(kind: str, architecture: dict[str, Any], dropout: float) -> Any:
    """Return a backbone with fresh weights, in the precision that is set."""
    backbone = BACKBONES[kind](**architecture, dropout=dropout, name=kind)
    backbone.build_from_config({})
    return backbone
