"""Answer texts with a published model."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError, StoreError
from pipeline.registry import CHAMPION, Registry, Version


def answer(
    bundle: Path, texts: Sequence[str], pairs: Sequence[str | None] | None = None, top: int = 1
) -> list[dict[str, Any]]:
    """Return what the model says of every text, or text and second text; see `pipeline.answer`.

    Raises:
        SourceError: a text is empty, or comes without the question that the model needs.
    """
    check_texts(texts)
    from pipeline.answer import answers_of
    from pipeline.bundle import Bundle

    return answers_of(Bundle.load(bundle), texts, pairs, top)


def find_model(registry: Registry, name: str | None = None, named_by: str = "--model") -> Version:
    """Return the version that `NAME`, `NAME@alias` or `NAME:version` means; without a name, the only champion there is.

    `named_by` is what stands before the name on the command line, for the errors.

    Raises StoreError: nothing is published, the name or alias is unknown, or a name is needed to choose; PublishError:
    the registry cannot be read, or has no such version.
    """
    model, _, number = (name or "").partition(":")
    model, _, alias = model.partition("@")
    champions = registry.models()
    if not champions:
        raise StoreError(
            f"no model is published yet in {registry.uri}; make one with `tradewind run RECIPE`, for example "
            "`tradewind run configs/icd10.yaml`"
        )
    if not model:
        if len(champions) > 1:
            raise StoreError(f"several models are published; choose one with {named_by}: {', '.join(champions)}")
        model = champions[0]
    if number and model in champions:
        return registry.version(model, number)
    version = registry.aliased(model, alias or CHAMPION)
    if version is None:
        raise StoreError(_unknown(registry, model, alias or CHAMPION, champions, named_by))
    return version


def check_texts(texts: Sequence[str]) -> None:
    """Raise SourceError when there is nothing to answer or a text is blank."""
    if not texts:
        raise SourceError("no text was given; expected at least one, as an argument or as a line of --file")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise SourceError(f"text {number} of {len(texts)} is empty; expected words. Remove it or fill it")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise SourceError(
                f"text {number} of {len(texts)} holds bytes that are not UTF-8: {text!r}; expected UTF-8. Convert it, "
                "or set the terminal to UTF-8"
            )


def read_texts(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file. Raises SourceError: missing, not UTF-8, no line, or a blank line."""
    if not path.is_file():
        raise SourceError(f"{path} is not a file; expected a text file with one text a line")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path} is not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}; save it as UTF-8, "
            f"for example with `iconv -f latin1 -t utf-8 {path}`"
        ) from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error}); check its permissions") from error
    if not lines:
        raise SourceError(f"{path} is empty; expected one text a line")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise SourceError(f"{path}, line {number} is empty; expected one text a line. Remove the line or fill it")
    return lines


def _unknown(registry: Registry, model: str, alias: str, champions: list[str], named_by: str) -> str:
    if model in champions:
        return f"model {model!r} has no alias {alias!r}; leave it out for the champion: {named_by} {model}"
    closest = get_close_matches(model, champions, n=1, cutoff=0.0)[0]
    return (
        f"no published model is called {model!r} in {registry.uri}; did you mean {closest!r}? Published models: "
        f"{', '.join(champions)}"
    )
