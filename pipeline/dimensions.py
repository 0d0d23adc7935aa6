"""The dimensions that a recipe asks for; known without Keras."""

from __future__ import annotations

from models.size import Dimensions, derive_dimensions
from pipeline.config import Model
from pipeline.errors import RecipeError


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
