"""The results of Great Expectations in plain values, fit for JSON and for its pages."""

from __future__ import annotations

import html
import math
import re
from typing import Any


def breakdown(info: dict[str, Any]) -> str | None:
    """Return the message of the exception inside a check; it sits at the top, or below the failed metric."""
    for entry in (info, *info.values()):
        if isinstance(entry, dict) and entry.get("raised_exception"):
            # An address in memory would differ from run to run.
            return re.sub(r" at 0x[0-9a-f]+", "", str(entry.get("exception_message")))
    return None


def observed(result: dict[str, Any]) -> Any:
    """Return the observed value, or how many rows break the check, or None where it tells neither."""
    if "element_count" not in result or "unexpected_count" not in result:
        return result.get("observed_value")
    broken, of = result["unexpected_count"], result["element_count"]
    return f"{broken:,} of {of:,} ({broken / of:.2%}) break it" if of else "no rows"


def plain(value: Any) -> Any:
    """Return the value with numpy's numbers and truth values as Python's, which JSON takes."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (str, int, type(None))):
        return value
    return plain(value.item()) if hasattr(value, "item") else str(value)


def escaped(value: Any) -> Any:
    """Return the value with its strings as HTML text: the page's tables would take a row's text for markup."""
    if isinstance(value, dict):
        return {key: escaped(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [escaped(entry) for entry in value]
    return html.escape(value, quote=False) if isinstance(value, str) else value
