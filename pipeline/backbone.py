"""The pretrained encoder as files: what a pretraining writes and a fine-tuning starts from."""

from __future__ import annotations

import json
from pathlib import Path

from models.backbones import Encoder
from models.size import Dimensions, derive_dimensions
from pipeline.config import Model
from pipeline.errors import RecipeError

WEIGHTS, CONFIG = "backbone.weights.h5", "backbone.json"


def dimensions_of(model: Model) -> Dimensions:
    """Return the dimensions that the recipe's `model` section asks for.

    Raises:
        RecipeError: they do not fit together.
    """
    try:
        return derive_dimensions(
            model.size,
            num_layers=model.num_layers,
            hidden_dim=model.hidden_dim,
            num_heads=model.num_heads,
            num_key_value_heads=model.num_key_value_heads,
            feedforward_dim=model.feedforward_dim,
            architecture=model.architecture,
            feedforward=model.feedforward,
            query_key_norm=model.query_key_norm,
            tie_embeddings=model.tie_embeddings,
        )
    except ValueError as error:
        raise RecipeError(f"model: {error}") from error


def build_encoder(dimensions: Dimensions, vocabulary_size: int, dropout: float) -> Encoder:
    """Return an encoder with fresh weights, in the precision that is set."""
    encoder = Encoder(
        vocabulary_size=vocabulary_size,
        num_layers=dimensions.num_layers,
        hidden_dim=dimensions.hidden_dim,
        num_heads=dimensions.num_heads,
        num_key_value_heads=dimensions.num_key_value_heads,
        feedforward_dim=dimensions.feedforward_dim,
        dropout=dropout,
        name="encoder",
    )
    encoder.build_from_config({})
    return encoder


def save_backbone(encoder: Encoder, folder: Path) -> None:
    """Write weights and architecture; any backend can read them."""
    encoder.save_weights(folder / WEIGHTS)
    config = {key: value for key, value in encoder.get_config().items() if isinstance(value, int)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2))


def load_backbone(folder: Path, dropout: float) -> Encoder:
    """Return the pretrained encoder, with a dropout rate of its own."""
    config = json.loads((folder / CONFIG).read_text())
    encoder = Encoder(
        vocabulary_size=config["vocabulary_size"],
        num_layers=config["num_layers"],
        hidden_dim=config["hidden_dim"],
        num_heads=config["num_heads"],
        num_key_value_heads=config["num_key_value_heads"],
        feedforward_dim=config["feedforward_dim"],
        dropout=dropout,
        name="encoder",
    )
    encoder.build_from_config({})
    encoder.load_weights(folder / WEIGHTS)
    return encoder
