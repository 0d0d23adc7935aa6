"""The dimensions and the length of training that a recipe asks for; known without Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.cost import parameters
from models.horizon import Horizon, derive_horizon
from models.size import Dimensions, derive_dimensions
from pipeline.config import Model, Recipe
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from pipeline.data.tokens.shards import ShardedRows


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


def horizon_of(recipe: Recipe, dimensions: Dimensions, vocabulary_size: int, rows: ShardedRows) -> Horizon:
    """Return how long the recipe pretrains on `rows`, and in what batches.

    Args:
        recipe: Recipe. Its `pretrain`, and the micro-batch of its `runtime`.
        dimensions: Dimensions. Of the model.
        vocabulary_size: int. Tokens that the model embeds.
        rows: ShardedRows. The corpus.
    """
    config = recipe.pretrain
    return derive_horizon(
        dimensions.architecture,
        parameters(dimensions, vocabulary_size).total,
        len(rows),
        rows.sequence_length,
        global_batch_size=config.global_batch_size,
        epochs=config.epochs,
        steps=config.steps,
        micro_batch_size=recipe.runtime.micro_batch_size,
    )


def architecture_of(dimensions: Dimensions) -> dict[str, Any]:
    """Return the constructor arguments of a backbone, but for its vocabulary and its dropout."""
    return {
        "num_layers": dimensions.num_layers,
        "hidden_dim": dimensions.hidden_dim,
        "num_heads": dimensions.num_heads,
        "num_key_value_heads": dimensions.num_key_value_heads,
        "feedforward_dim": dimensions.feedforward_dim,
        "feedforward": dimensions.feedforward,
        "query_key_norm": dimensions.query_key_norm,
        "tie_embeddings": dimensions.tie_embeddings,
    }


def require_architecture(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise RecipeError unless the description of the backbone that a recipe starts from has the wanted values."""
    differences = [f"{key} {found.get(key)!r} -> {value!r}" for key, value in wanted.items() if found.get(key) != value]
    if differences:
        raise RecipeError(
            f"pretrain.start_from has another architecture than this recipe's model: {', '.join(differences)}; set "
            "`model` as in the recipe it came from"
        )
