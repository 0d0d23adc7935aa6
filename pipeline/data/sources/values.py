"""Values of any type as strings, each in one way only, and what of them is no sound text."""

from __future__ import annotations

import json
import math
from datetime import date, time
from decimal import Decimal
from typing import Any

# Above, neighbouring integers have the same float, and its digits would promise more than it holds.
EXACT = 2**53


def as_string(value: Any) -> str | None:
    """Return a value as the string it has in JSON, so that 1, 1.0 and Decimal("1.00") are the same label.

    Dates and times are ISO 8601; None and NaN are None. Bytes that are not UTF-8 become lone surrogates, which
    `unsound` finds.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (float, Decimal)):
        return _number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, (date, time)):
        return None if value != value else value.isoformat()
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=as_string)
    return str(value)


def unsound(value: str | None) -> str | None:
    """Return why the value is no sound text, such as `not UTF-8: byte 0xe9`; None when it is."""
    value = value or ""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(error.object[error.start])
        what = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"lone surrogate U+{code:04X}"
        return f"not UTF-8: {what}"
    return "NUL character" if "\0" in value else None


def visible(value: str) -> str:
    r"""Return the value with every byte that is not UTF-8 as `\xe9`, lone surrogates as `\ud800`, NUL as `\x00`."""
    escapes = {ord(sign): f"\\x{ord(sign) - 0xDC00:02x}" for sign in value if "\udc80" <= sign <= "\udcff"}
    return value.translate({0: "\\x00", **escapes}).encode("utf-8", "backslashreplace").decode("utf-8")


def _number(value: float | Decimal) -> str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return str(value).lower()
    if value == int(value) and -EXACT < value < EXACT:
        return str(int(value))
    return repr(value) if isinstance(value, float) else format(value.normalize(), "f")
