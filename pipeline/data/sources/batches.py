"""What every reader yields, and the table that it becomes: sound strings, or a fault that says why not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Columns
from pipeline.data.sources.columns import MAPPED, kept_columns
from pipeline.data.sources.values import as_string, unsound, visible

ROWS = 65_536
WORD_LIST = r'^\["(?s:.*)"\]$'  # as JSON writes one
# Of the bytes a reader takes in for one batch; one more line or block may come on top.
BYTES = 16 * 2**20


class Fault(NamedTuple):
    """Why a row cannot be read, and how it stands in the source."""

    reason: str
    raw: str


@dataclass(frozen=True)
class Batch:
    """Some rows of a source.

    `numbers` are the lines they start on, (rows,); `columns` their values by column, (rows,) each, of any type;
    `faults` the rows that could not be read, by position: their values are None.
    """

    numbers: Sequence[int]
    columns: Mapping[str, Sequence[Any] | pa.Array]
    faults: Mapping[int, Fault] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where the rows of a batch are from: what begins their row ids, the file (None: no file), and the given split."""

    prefix: str
    file: str | None = None
    split: str | None = None


def to_table(batch: Batch, wanted: Columns, place: Place) -> pa.Table:
    """Return the batch with the columns that `read_source` promises; a column that it has not is null."""
    rows = len(batch.numbers)
    used = {getattr(wanted, key) for key in MAPPED}.union(kept_columns(wanted, list(batch.columns)))
    strings = {name: _strings(values) for name, values in batch.columns.items() if name in used}
    faults = {position: fault.reason for position, fault in batch.faults.items()}
    for name, (_, unsound_values) in strings.items():
        for position, what in unsound_values.items():
            where = f" ({place.file}:{batch.numbers[position]})" if place.file else ""
            faults.setdefault(position, f"{what} in column {visible(name)}{where}")
    arrays = {visible(name): array for name, (array, _) in strings.items()}
    for text in (wanted.text, wanted.text_pair):
        if text in arrays:
            arrays[text] = _joined(arrays[text])
    ids = _row_ids(batch.numbers, place.prefix)
    if wanted.id is not None:
        ids = _given_ids(ids, arrays.get(wanted.id), wanted.id, place, faults)
    nulls = pa.nulls(rows, pa.string())
    columns = {"row_id": ids, "text": _texts(arrays.get(wanted.text, nulls), batch.faults)}
    if wanted.text_pair is not None:
        columns["text_pair"] = arrays.get(wanted.text_pair, nulls)
    columns["group"] = arrays.get(wanted.group, nulls) if wanted.group else nulls
    if place.split is not None:
        columns["split"] = pa.repeat(pa.scalar(place.split, pa.string()), rows)
    if wanted.label is not None:
        columns["label"] = arrays.get(wanted.label, nulls)
    columns |= {name: arrays[name] for name in kept_columns(wanted, list(arrays)) if name in arrays}
    columns["fault"] = _scattered(faults, nulls)
    return pa.table(columns)


def _strings(values: Sequence[Any] | pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """Return the values as sound strings, and by position what was unsound in those that are shown with escapes."""
    if isinstance(values, pa.Array):
        array = values
    else:
        try:
            array = pa.array(values, pa.string())
        except (TypeError, pa.ArrowInvalid):
            if set(map(type, values)) <= {int, type(None)}:
                return pa.array([None if value is None else str(value) for value in values], pa.string()), {}
            return _strings([as_string(value) for value in values])
        except UnicodeEncodeError:
            return _escaped(values)
    # Arrow looks whether strings are UTF-8 only when asked.
    return _escaped(array.to_pylist()) if pc.any(pc.match_substring(array, "\0")).as_py() else (array, {})


def _escaped(values: Sequence[str | None]) -> tuple[pa.Array, dict[int, str]]:
    found = {position: what for position, value in enumerate(values) if (what := unsound(value))}
    readable = [visible(value) if value and position in found else value for position, value in enumerate(values)]
    return pa.array(readable, pa.string()), found


def _row_ids(numbers: Sequence[int], prefix: str) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers, pa.int64()).cast(pa.string()), "")


def _given_ids(ids: pa.Array, given: pa.Array | None, column: str, place: Place, faults: dict[int, str]) -> pa.Array:
    """Return the ids of the source's own column; a row without one keeps its line, and a fault."""
    if given is None:
        given = pa.nulls(len(ids), pa.string())
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(given), ""), True)
    for position in pc.indices_nonzero(blank).to_pylist():
        faults.setdefault(position, f"no id in column {column}")
    source = place.prefix.partition(":")[0]
    return pc.if_else(blank, ids, pc.binary_join_element_wise(f"{source}:", pc.fill_null(given, ""), ""))


def _texts(texts: pa.Array, faults: Mapping[int, Fault]) -> pa.Array:
    """Return the texts, with that of an unreadable row as it stands in the source, and "" for null."""
    raw = _scattered({position: visible(fault.raw) for position, fault in faults.items()}, texts)
    return pc.fill_null(raw, "")


def _joined(texts: pa.Array) -> pa.Array:
    """Return the texts, one that is given as a list of its words with blanks between them."""
    joined = {}
    for place in pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(texts, WORD_LIST), False)).to_pylist():
        try:
            words = json.loads(texts[place].as_py())
        except ValueError:
            continue  # a text in brackets
        if all(isinstance(word, str) for word in words):
            joined[place] = " ".join(words)
    return _scattered(joined, texts)


def _scattered(values: Mapping[int, str], into: pa.Array) -> pa.Array:
    """Return the array with the values put at their positions."""
    if not values:
        return into
    positions = sorted(values)
    mask = pa.nulls(len(into), pa.bool_()).fill_null(False).to_numpy(zero_copy_only=False).copy()
    mask[positions] = True
    return pc.replace_with_mask(into, pa.array(mask), pa.array([values[at] for at in positions], pa.string()))
