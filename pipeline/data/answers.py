"""What the label column of a task holds, by the kind of the task, as typed values and with what is wrong about them.

classification      a class                            string
multi_label         classes, any number of them        list of string, sorted
regression          a number                           double
tagging             a tag for each word of the text    list of string; the words are those between the text's blanks
question_answering  acceptable stretches of the text   list of {text, start}; see `pipeline.data.spans`
generation          a text                             string

Several values in one cell are a JSON list, or stand between the task's `separator` (tags: between blanks).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import TaskData
from pipeline.data.spans import SPANS, Span, absent, read_spans

TYPES = {
    "classification": pa.string(),
    "multi_label": pa.list_(pa.string()),
    "regression": pa.float64(),
    "tagging": pa.list_(pa.string()),
    "question_answering": SPANS,
    "generation": pa.string(),
}
AS_THEY_ARE = frozenset({"classification", "generation"})  # kinds whose answer is the cell itself
# Kinds whose answers are classes, and those whose answers cleaning may have changed.
CLASSES = frozenset({"classification", "multi_label", "tagging"})
PLACED = frozenset({"tagging", "question_answering", "generation"})
ANSWER, NO_ANSWER = "answer", "no answer"
SHOWN = 60


def parse(data: TaskData, labels: pa.Array) -> pa.Array:
    """Return the typed answers of a label column, (rows,) string; null where there is none, or none that can be read.

    An empty cell of `multi_label` is no class at all, and so an answer; of `question_answering` it is that there is
    none in the text. Where an answer starts is what its cell says; `pipeline.data.spans.located` finds it.
    """
    if data.kind in AS_THEY_ARE:
        return pc.if_else(pc.equal(pc.utf8_trim_whitespace(labels), ""), None, labels)
    values = [_read(data, cell) for cell in labels.to_pylist()]
    return pa.array([None if isinstance(value, Fault) else value for value in values], TYPES[data.kind])


def faults(data: TaskData, labels: pa.Array, texts: pa.Array, pairs: pa.Array | None = None) -> pa.Array:
    """Return why each row's answer cannot be used, (rows,) string; null where it can.

    The second texts, `pairs`, are questions where the kind has some; None: they are not looked at.
    """
    if data.kind in AS_THEY_ARE:
        blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(labels, "")), "")
        return pc.if_else(blank, pa.scalar(_missing(data)), pa.scalar(None, pa.string()))
    if data.kind == "question_answering":
        asked = [True] * len(labels) if pairs is None else [bool((pair or "").strip()) for pair in pairs.to_pylist()]
        rows = zip(labels.to_pylist(), texts.to_pylist(), asked, strict=True)
        return pa.array([_span_fault(*row) for row in rows], pa.string())
    found: list[str | None] = []
    for cell, text in zip(labels.to_pylist(), texts.to_pylist(), strict=True):
        value = _read(data, cell)
        if isinstance(value, Fault):
            found.append(value.reason)
        elif data.kind == "tagging" and isinstance(value, list) and len(value) != (words := len(words_of(text))):
            found.append(f"{len(value)} tags for {words} words: expected a tag for each word between blanks")
        elif data.labels is not None and isinstance(value, list) and (odd := set(value) - set(data.labels)):
            found.append(f"label not allowed: {', '.join(sorted(odd))}: expected some of {', '.join(data.labels)}")
        else:
            found.append(None)
    return pa.array(found, pa.string())


def words_of(text: str | None) -> list[str]:
    """Return the words that a tagger tags: what stands between blanks of any kind."""
    return (text or "").split()


def classes_of(answers: pa.Array) -> pa.Array:
    """Return every class or tag in typed answers, one after the other, (n,) string; of other answers none."""
    values = answers.flatten() if pa.types.is_list(answers.type) else answers
    return values if pa.types.is_string(values.type) else pa.array([], pa.string())


def counted(data: TaskData, labels: pa.Array) -> pa.Array:
    """Return what statistics count of a label column: answers, whether there is one in the text, or words to write."""
    answers = parse(data, labels)
    if data.kind == "generation":
        return pc.cast(pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(answers))), pa.float64())
    if data.kind != "question_answering":
        return answers
    return pc.if_else(pc.equal(pc.list_value_length(answers), 0), NO_ANSWER, ANSWER)


class Fault:
    """An answer that cannot be read."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _read(data: TaskData, cell: str | None) -> Any:
    """Return the answer of a cell, or its Fault."""
    if data.kind == "question_answering":
        return _spans(cell)
    blank = cell is None or not cell.strip()
    if data.kind == "multi_label":
        return [] if blank else _several(cell or "", data.separator)
    if blank:
        return Fault(_missing(data))
    assert cell is not None
    if data.kind == "tagging":
        return _several(cell, None)
    if data.kind == "regression":
        return _number(cell, data.label)
    return cell


def _span_fault(cell: str | None, text: str | None, asked: bool) -> str | None:
    if not asked:
        return "no question: the second text is empty"
    spans = _spans(cell)
    return spans.reason if isinstance(spans, Fault) else absent(spans, text or "")


def _spans(cell: str | None) -> list[Span] | Fault:
    try:
        return read_spans(cell)
    except ValueError as error:
        return Fault(f"answers cannot be read: {error}, in {_cut(cell or '')}")


def _missing(data: TaskData) -> str:
    what = "target" if data.kind == "generation" else "label"
    return f"no {what}: column {data.label} is empty"


def _several(cell: str, separator: str | None) -> list[str] | Fault:
    """Return the values of a cell; those of a set, which has a separator, sorted and once each."""
    if cell.lstrip().startswith("["):
        try:
            values = json.loads(cell)
        except ValueError as error:
            return Fault(f"label {_cut(cell)} is no JSON list ({error})")
        if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
            return Fault(f"label {_cut(cell)} is no flat JSON list of texts")
        found = [str(value) for value in values]
    else:
        found = [part.strip() for part in cell.split(separator)]
    return _as_set(found) if separator else found


def _as_set(values: Sequence[str]) -> list[str]:
    return sorted({value for value in values if value})


def _number(cell: str, column: str) -> float | Fault:
    try:
        value = float(cell)
    except ValueError:
        return Fault(f"column {column} holds {_cut(cell)}: expected a number")
    return value if math.isfinite(value) else Fault(f"column {column} holds {_cut(cell)}: expected a finite number")


def _cut(cell: str) -> str:
    return repr(cell if len(cell) <= SHOWN else f"{cell[:SHOWN]}…")
