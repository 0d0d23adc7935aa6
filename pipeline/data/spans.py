"""Answers that are stretches of their text: how a cell gives them, and where in the text they are.

A cell holds

- nothing: the text does not answer the question (SQuAD 2, Rajpurkar 2018, arXiv 1806.03822);
- the answer as it stands in the text;
- a JSON list of acceptable answers;
- {"text": [...], "answer_start": [...]}, as SQuAD's rows come from Hugging Face, or a list of {"text", "answer_start"},
  as in SQuAD's own file. Starts count characters of the text as it stands in the source.

Anything that is not such JSON is an answer itself, so that `[1]` can be one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypedDict

import pyarrow as pa

SPANS = pa.list_(pa.struct([("text", pa.string()), ("start", pa.int32())]))
SHOWN = 60


class Span(TypedDict):
    """An acceptable answer; `start` is its first character in the text, None where the cell does not say."""

    text: str
    start: int | None


def read_spans(cell: str | None) -> list[Span]:
    """Return the acceptable answers of a cell, none for a question that the text does not answer.

    Raises:
        ValueError: the starts are not one whole number for each answer.
    """
    if cell is None or not cell.strip():
        return []
    texts, starts = _parts(cell)
    if len(texts) != len(starts):
        raise ValueError(
            f"answer_start has {_counted(len(starts), 'entry', 'entries')} and text {_counted(len(texts), 'answer')}; "
            "expected one for each"
        )
    if odd := [start for start in starts if start is not None and type(start) is not int]:
        raise ValueError(f"the start {odd[0]!r} is no whole number")
    pairs = [(text, start) for text, start in zip(texts, starts, strict=True) if text.strip()]
    return [
        Span(text=text.strip(), start=None if start is None else start + len(text) - len(text.lstrip()))
        for text, start in pairs
    ]


def locate(span: Span, text: str) -> int | None:
    """Return where the answer starts in the text: nearest to where it should, else first; None where it does not occur.

    Without a start the first occurrence as whole words goes before an earlier one within a word.
    """
    answer, near = span["text"], span["start"]
    if near is None:
        whole = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text)
        first = whole.start() if whole else text.find(answer)
        return None if first < 0 else first
    near = max(near, 0)
    found = [place for place in (text.rfind(answer, 0, near + len(answer)), text.find(answer, near)) if place >= 0]
    return min(found, key=lambda place: abs(place - near), default=None)


def absent(spans: Sequence[Span], text: str) -> str | None:
    """Return why the answers cannot be learned from the text: one of them does not occur in it; None where all do."""
    missing = next((span["text"] for span in spans if locate(span, text) is None), None)
    if missing is None:
        return None
    shown = missing if len(missing) <= SHOWN else f"{missing[:SHOWN]}…"
    return f"answer not in the text: {shown!r} does not occur; expected it letter by letter as it stands there"


def located(answers: pa.Array, texts: pa.Array) -> pa.Array:
    """Return typed answers, all of which occur in their texts, with the start of each."""
    rows = zip(answers.to_pylist(), texts.to_pylist(), strict=True)
    return pa.array([[span | {"start": locate(span, text)} for span in spans] for spans, text in rows], SPANS)


def _counted(number: int, one: str, several: str = "") -> str:
    return f"{number or 'no'} {one if number == 1 else several or one + 's'}"


def _parts(cell: str) -> tuple[list[str], list[Any]]:
    """Return texts and starts of a cell; (the cell, no start) where it is not JSON of one of the forms."""
    plain: tuple[list[str], list[Any]] = [cell], [None]
    if cell.lstrip()[:1] not in ("[", "{"):
        return plain
    try:
        value = json.loads(cell)
    except ValueError:
        return plain
    if isinstance(value, dict):
        return _columns(value) or plain
    if all(isinstance(entry, str) for entry in value):
        return value, [None] * len(value)
    if all(isinstance(entry, dict) and isinstance(entry.get("text"), str) for entry in value):
        return [entry["text"] for entry in value], [entry.get("answer_start") for entry in value]
    return plain


def _columns(value: dict[str, Any]) -> tuple[list[str], list[Any]] | None:
    texts, starts = value.get("text"), value.get("answer_start")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    if starts is None:
        return texts, [None] * len(texts)
    return texts, starts if isinstance(starts, list) else [starts]
