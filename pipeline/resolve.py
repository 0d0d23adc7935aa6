"""What `auto` in a recipe's `runtime` stands for in this run, decided when the first step that trains needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.autotune import choose
from pipeline.backend import installed_backends, loaded_backend, select_backend
from pipeline.config import Recipe
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.dimensions import dimensions_of, horizon_of
from pipeline.steps import Step
from pipeline.targets import embedding_rows


def with_resolved_runtime(
    recipe: Recipe,
    step: Step,
    tokens: Path,
    pretrained: Mapping[str, Any] | None,
    cache: Path,
    say: Callable[[str], None],
) -> Recipe:
    """Return the recipe with a backend and a precision in place of `auto`, for a step that reads them.

    Pretraining measures; the steps after it take what it took, where that is installed, so that a run is of one piece.

    Args:
        recipe: Recipe. The whole recipe.
        step: Step. Which step is about to run.
        tokens: Path. The artifact of `preprocess`.
        pretrained: mapping. The result of this run's pretraining, for the steps after it.
        cache: Path. Folder that keeps what was measured.
        say: callable. Told what was chosen.

    Raises:
        BackendError: the backend that the recipe names is not installed, or none is.
    """
    runtime = recipe.runtime
    if "auto" not in (runtime.backend, runtime.precision):
        return recipe
    if step.name == "pretrain":
        found = _measured(recipe, tokens, cache, say)
    elif pretrained and _can_run_on(pretrained["backend"]):
        found = {"backend": pretrained["backend"], "precision": pretrained["precision"]}
    else:
        return recipe
    kept = {key: value for key, value in found.items() if getattr(runtime, key) == "auto"}
    resolved = runtime.model_copy(update=kept)
    select_backend(resolved.backend)
    return recipe.model_copy(update={"runtime": resolved})


def _can_run_on(backend: str) -> bool:
    loaded = loaded_backend()
    return backend == loaded if loaded else backend in installed_backends()


def _measured(recipe: Recipe, tokens: Path, cache: Path, say: Callable[[str], None]) -> dict[str, str]:
    dimensions = dimensions_of(recipe.model)
    rows = ShardedRows(tokens / "corpus" / "train")
    vocabulary_size = load_tokenizer(tokens / "tokenizer.json").get_vocab_size()
    embedded = embedding_rows(dimensions.architecture, recipe.pretrain, vocabulary_size, rows.sequence_length)
    horizon = horizon_of(recipe, dimensions, embedded, rows)
    choice = choose(recipe, dimensions, embedded, horizon, cache, say)
    return {"backend": choice.backend, "precision": choice.precision}
