"""What every target can do, and which one an address means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline.config.target_urls import HUGGING_FACE, KAGGLE, check_target
from pipeline.errors import RecipeError
from pipeline.registry import Version


class Target(Protocol):
    """A place that versions are brought to."""

    url: str

    def require(self) -> None:
        """Raise RecipeError unless this machine has what the target needs."""

    def push(self, version: Version) -> str:
        """Bring a version there so that readers see the whole of it or nothing; return where to find it."""


def open_target(url: str) -> Target:
    """Return the target of an address. Raises RecipeError: there is none of this kind."""
    from pipeline.delivery.folder import Folder
    from pipeline.delivery.hugging_face import HuggingFace
    from pipeline.delivery.kaggle import Kaggle

    try:
        check_target(url)
    except ValueError as error:
        raise RecipeError(f"the target of a model: {error}") from None
    kinds: dict[str, Callable[[str], Target]] = {HUGGING_FACE: HuggingFace, KAGGLE: Kaggle}
    return kinds.get(url.partition("://")[0], Folder)(url)


def missing(url: str, what: str, remedy: str) -> RecipeError:
    """Return the error of a target that this machine lacks something for."""
    return RecipeError(f"publish.targets has {url}, and {what}; {remedy}, or take the target out of the recipe")
