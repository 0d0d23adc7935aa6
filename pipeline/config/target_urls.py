"""The addresses of `publish.targets`: which forms there are, and what is wrong with any other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

FORMS = "file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, hf://OWNER/NAME or kaggle://OWNER/MODEL/FRAMEWORK/VARIATION"
HUGGING_FACE, KAGGLE, FILE = "hf", "kaggle", "file"
PARTS = {HUGGING_FACE: 2, KAGGLE: 4}
PART = re.compile(r"[A-Za-z0-9_][\w.-]*")


def check_target(url: str) -> str:
    """Return the address as it is.

    Raises ValueError: no address of a folder, a bucket, the Hugging Face Hub or Kaggle, or one with a secret in it.
    """
    from fsspec.registry import known_implementations, registry  # type: ignore[import-untyped]

    scheme, _, rest = url.partition("://")
    if not scheme or not rest.strip("/"):
        raise ValueError(f"received {url!r}, which is no address of a target; expected {FORMS}")
    filled = filled_target(url, "recipe", "task")
    if urlsplit(filled).password is not None or set(filled) & set("?#"):
        raise ValueError(
            f"received an address with a password or options ({scheme}://...); credentials do not stand in recipes: "
            "give them to the process as its library expects, in environment variables or a file of its own"
        )
    if scheme in PARTS:
        names = filled.partition("://")[2].split("/")
        if len(names) != PARTS[scheme] or not all(PART.fullmatch(name) for name in names):
            raise ValueError(f"received {url!r}; expected {FORMS}")
    elif scheme == FILE and not rest.startswith("/"):
        raise ValueError(f"received {url!r}, which is not an absolute folder; expected file:///FOLDER")
    elif scheme not in {*known_implementations, *registry} or scheme in ("http", "https"):
        raise ValueError(f"received {url!r}, a kind of address that nothing can be written to; expected {FORMS}")
    return url


def filled_target(url: str, recipe: str, task: str) -> str:
    """Return the address for a task; it may hold {recipe} and {task}. Raises ValueError: anything else in braces."""
    try:
        return url.format(recipe=recipe, task=task)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"received {url!r}; it may hold {{recipe}} and {{task}}, nothing else in braces") from error


def check_told_apart(urls: Sequence[str], recipe: str, tasks: Sequence[str]) -> None:
    """Raise ValueError when two models would go to one repository; in folders each has a folder of its own."""
    filled = [
        filled_target(url, recipe, task) for url in urls for task in (tasks if _is_repository(url) else tasks[:1])
    ]
    if twice := sorted({url for url in filled if filled.count(url) > 1}):
        raise ValueError(
            f"publish.targets names {twice[0]} for more than one model; name each target once, and put {{task}} into "
            "the address of a repository when the recipe has several tasks"
        )


def _is_repository(url: str) -> bool:
    return url.partition("://")[0] in PARTS
