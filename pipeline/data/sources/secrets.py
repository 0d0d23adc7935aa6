"""What must not be read in any message: the values behind `${NAME}` and the passwords of addresses."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

from pipeline.config.settings import VARIABLE, resolve_secrets


class Secrets:
    """The secrets that a source uses."""

    def __init__(self) -> None:
        self.values: set[str] = set()

    def resolve(self, text: str, key: str, encode: Callable[[str], str] = str) -> str:
        """Return the text with each `${NAME}` replaced by the variable's value, `encode`d; the values are hidden.

        Raises:
            RecipeError: a variable that the recipe names at `key` is not set.
        """
        for match in VARIABLE.finditer(text):
            self.add(resolve_secrets(match[0], key))
        return VARIABLE.sub(lambda match: encode(resolve_secrets(match[0], key)), text)

    def add(self, value: str | None) -> None:
        """Remember a secret, as it is and as it stands in an address."""
        for form in {value, unquote(value)} if value else ():
            self.values |= {form, quote(form), quote(form, safe=""), quote_plus(form), repr(form)[1:-1]}

    def hide(self, error: BaseException) -> str:
        """Return kind and message of an error, without the secrets."""
        return self.hide_in(f"{type(error).__name__}: {error}".rstrip(": "))

    def hide_in(self, message: str) -> str:
        """Return the message with `***` for every secret."""
        for value in sorted(self.values, key=len, reverse=True):
            message = message.replace(value, "***")
        return message
