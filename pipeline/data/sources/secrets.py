"""What must not be read in any message: the values behind `${NAME}` and the passwords of addresses."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

from pipeline.config.settings import VARIABLE, resolve_secrets


class Secrets:
    """The secrets that a source uses."""

    def __init__(self) -> None:
        self.values: set[str] = set()

    def resolve(self, value: str, key: str) -> str:
        """Return the value with its `${NAME}` replaced, remembering what to hide.

        Raises:
            RecipeError: a variable that the recipe names at `key` is not set.
        """
        for match in VARIABLE.finditer(value):
            self.add(resolve_secrets(match[0], key))
        return resolve_secrets(value, key)

    def add(self, value: str | None) -> None:
        """Remember a secret, as it is and as it stands in a URL."""
        if value:
            self.values |= {value, quote(value), quote(value, safe=""), quote_plus(value), repr(value)[1:-1]}

    def hide(self, error: BaseException) -> str:
        """Return kind and message of an error, with `***` for every secret."""
        message = f"{type(error).__name__}: {error}".rstrip(": ")
        for value in sorted(self.values, key=len, reverse=True):
            message = message.replace(value, "***")
        return message
