"""A recipe drafted from data: a source with its columns mapped, checks with bounds that the data keep, label columns.

The whole source streams by once. What is drafted holds for the rows that were there; it is meant to be edited.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import FilesSource, SqlSource
from pipeline.data.quality.checks import NUMBERS, TYPES
from pipeline.data.quality.drafting.label_sets import label_set
from pipeline.data.quality.figures.profile import Chunk, Profile
from pipeline.data.quality.figures.spool import Spool, group_starts, hash_strings
from pipeline.data.quality.figures.texts import languages
from pipeline.data.quality.own import column_of
from pipeline.data.quality.survey import coalesced
from pipeline.data.sources import read_source
from pipeline.data.sources.reading import first_batch
from pipeline.errors import SourceError

FEW_VALUES = 30  # as many may be listed in a check
MOST_LABELS = 200
ROWS_PER_LABEL = 5
REMEMBERED = 1_000
HINTS = ("label", "class", "category", "target", "tag", "kind", "type", "intent", "sentiment", "topic")
ORDER = ("boolean", "integer", "number", "date")  # narrowest first
ONE_LANGUAGE = 0.95
MOST_PRESENT = 0.95
PIPELINES = ("row_id", "text", "text_pair", "group", "split", "fault")


class Column:
    """What the values of a column are, gathered while they stream by."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.present = 0
        self.matches = dict.fromkeys(ORDER, 0)
        self.values: Counter[str] = Counter()
        self.many = False
        self.low, self.high = math.inf, -math.inf
        self.tags: set[str] | None = set()  # None: not every value has a tag for each word of its text
        self.longest = 0  # in words
        self.hashes = Spool(folder, [])

    def add(self, table: pa.Table) -> None:
        """Take the column's values in a table; blank ones count as none."""
        values = pc.drop_null(column_of(table, self.name, numeric=False))
        values = values.filter(pc.not_equal(pc.utf8_trim_whitespace(values), ""))
        self.present += len(values)
        for kind in ORDER:
            self.matches[kind] += int(pc.sum(pc.match_substring_regex(values, TYPES[kind][0])).as_py() or 0)
        if not self.many:
            counts = pc.value_counts(values)
            self.values.update(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))
            self.many = len(self.values) > REMEMBERED
        if numbers := pc.drop_null(column_of(table, self.name, numeric=True)):
            ends = pc.min_max(numbers).as_py()
            self.low, self.high = min(self.low, ends["min"]), max(self.high, ends["max"])
        self.hashes.add(hash_strings(values))
        self._add_tags(table)

    def _add_tags(self, table: pa.Table) -> None:
        if self.tags is None or not len(table):
            return
        columns = (column_of(table, self.name, numeric=False), table["text"])
        words, of_text = (pc.utf8_split_whitespace(pc.utf8_trim_whitespace(column)) for column in columns)
        lengths = pc.list_value_length(of_text)
        self.longest = max(self.longest, pc.max(lengths).as_py() or 0)
        if words.null_count or not pc.all(pc.equal(pc.list_value_length(words), lengths)).as_py():
            self.tags = None
            return
        self.tags.update(pc.unique(pc.list_flatten(words)).to_pylist())
        if len(self.tags) > MOST_LABELS:
            self.tags = None

    @property
    def kind(self) -> str:
        """The narrowest type that all values have."""
        whole = [kind for kind in ORDER if self.present and self.matches[kind] == self.present]
        return whole[0] if whole else "text"

    def distinct(self) -> int:
        """Return how many different values there are."""
        return sum(len(group_starts(records)) for records in self.hashes.parts())

    def check(self, rows: int) -> dict[str, Any]:
        """Return the check that all values pass."""
        asked: dict[str, Any] = {}
        if self.kind != "text":
            asked["type"] = self.kind
        if self.present == rows:
            asked["required"] = True
        if self.kind in NUMBERS:
            asked |= {"min": _plain(math.floor(self.low)), "max": _plain(math.ceil(self.high))}
        elif self.kind == "text" and self._one_each() and self._repeats(FEW_VALUES):
            asked["values"] = sorted(self.values)
        if self.present == rows > ROWS_PER_LABEL and self.kind in ("text", "integer") and self.distinct() == rows:
            asked["unique"] = True
        return asked

    def could_be_label(self, rows: int) -> bool:
        """Return whether the values could be the answers of a task; rows without one would be quarantined."""
        few = self._one_each() and len(self.values) > 1 and self._repeats(MOST_LABELS)
        return few and self.present >= rows * MOST_PRESENT and self.kind not in ("date", "number")

    @cached_property
    def label_set(self) -> tuple[str, list[str]] | None:
        """What stands between the labels of a cell, and the labels, where cells hold several."""
        if not self.values or self.many or self.tags_words() or self._holds_objects() or self.kind != "text":
            return None
        return label_set(self.name, self.values, MOST_LABELS)

    def tags_words(self) -> bool:
        """Return whether every value has a tag for each word of its text."""
        return self.longest > 1 and self.tags is not None and len(self.tags) > 1

    def _one_each(self) -> bool:
        """Return whether a value is one thing, rather than tags, a set of labels, or an object with keys of its own."""
        return not (self.many or self.tags_words() or self.label_set or self._holds_objects())

    def _holds_objects(self) -> bool:
        return any(value.startswith("{") for value in self.values)

    def _repeats(self, most: int) -> bool:
        return 0 < len(self.values) <= min(most, self.present / ROWS_PER_LABEL)


@dataclass(frozen=True)
class Draft:
    """What was found in a source, and what a recipe could say of it.

    Attributes:
        rows: int. Readable ones.
        faults: list of str. Why others cannot be read, the first few.
        unreadable: int.
        text: str. The column that holds the text.
        guessed: bool. Was it the longest, rather than named?
        statistics: dict. Of the texts, as in statistics.json.
        columns: dict of str to (type, distinct values, blank values).
        source, checks: dict. Values of data.sources.NAME and data.checks.
        labels: dict of str to list of str. Columns that could be labels, likeliest first, with their values.
        sets: dict of str to (str, list of str). Columns of several labels a cell: what is between them, and they.
        tags: dict of str to list of str. Columns with a tag for each word of the text, with their tags.
    """

    rows: int
    faults: list[str]
    unreadable: int
    text: str
    guessed: bool
    statistics: dict[str, Any]
    columns: dict[str, tuple[str, int, int]]
    source: dict[str, Any]
    checks: dict[str, Any]
    labels: dict[str, list[str]]
    sets: dict[str, tuple[str, list[str]]]
    tags: dict[str, list[str]]


def draft(name: str, source: FilesSource | SqlSource, text: str | None, folder: Path) -> Draft:
    """Read a source and draft what a recipe could say of it.

    Args:
        name: the source's name in the recipe.
        source: where it is; its `text` does not matter.
        text: the column that holds the text; None: `text` where there is one, else the column with the longest values.
        folder: an empty folder to work in.

    Raises:
        SourceError: nothing there, unreadable, or without a column of that name.
    """
    chosen = text or _guess(name, source)
    source = source.model_copy(update={"text": chosen})
    profile = Profile(folder / "texts")
    columns: dict[str, Column] = {}
    faults: list[str] = []
    unreadable = 0
    for table in coalesced(read_source(name, source)):
        told = table["fault"].drop_null()
        unreadable += len(told)
        faults += told.slice(0, 3 - len(faults)).to_pylist() if len(faults) < 3 else []
        sound = table.filter(pc.is_null(table["fault"]))
        chunk = Chunk(sound)
        profile.add(chunk, np.ones(len(sound), bool))
        for column in sound.column_names:
            if column not in PIPELINES:
                columns.setdefault(column, Column(column, folder / f"column{len(columns)}")).add(sound)
    if not profile.rows:
        raise SourceError(f"{name}: no row can be read ({'; '.join(faults)}); expected at least one")
    likely = [column for column in columns.values() if column.could_be_label(profile.rows)]
    likely.sort(key=lambda column: (not any(hint in column.name.lower() for hint in HINTS), len(column.values)))
    return Draft(
        rows=profile.rows,
        faults=faults,
        unreadable=unreadable,
        text=chosen,
        guessed=text is None and chosen != "text",
        statistics=profile.statistics(),
        columns={
            column.name: (column.kind, column.distinct(), profile.rows - column.present) for column in columns.values()
        },
        source={"kind": source.kind} | source.model_dump(exclude_defaults=True, mode="json"),
        checks=_checks(name, profile, columns.values()),
        labels={column.name: sorted(column.values, key=_in_order(column)) for column in likely},
        sets={column.name: column.label_set for column in columns.values() if column.label_set is not None},
        tags={column.name: sorted(column.tags or ()) for column in columns.values() if column.tags_words()},
    )


def _in_order(column: Column) -> Callable[[str], Any]:
    """Return what sorts the values of a column: 10 comes after 9."""
    return float if column.kind == "integer" else str


def _guess(name: str, source: FilesSource | SqlSource) -> str:
    """Return the column that is called `text`, or else the one whose first values are the longest on average."""
    batch = first_batch(name, source)
    if batch is None:
        raise SourceError(f"{name}: the source holds no rows; expected at least one")
    if "text" in batch.columns:
        return "text"
    return max(batch.columns, key=lambda column: _mean_length(batch.columns[column]))


def _mean_length(values: Sequence[Any] | pa.Array) -> float:
    listed = values.to_pylist() if isinstance(values, pa.Array) else values
    lengths = [len(value) for value in listed if isinstance(value, str)]
    return sum(lengths) / len(listed) if lengths else 0.0


def _checks(name: str, profile: Profile, columns: Iterable[Column]) -> dict[str, Any]:
    rows, distinct = profile.rows, profile.distinct[0]
    lengths = [length for length in profile.characters if length] or [1]
    checks: dict[str, Any] = {
        "min_rows": max(1, rows // 2),
        "min_characters": min(2, *lengths),
        "max_characters": _round_up(2 * max(lengths)),
    }
    repeated = (rows - distinct) / rows
    if repeated > 0.25:
        checks["max_duplicates"] = min(1.0, math.ceil(repeated * 20 + 1) / 20)
    found = languages(profile.sample.texts)
    language, count = next(iter(found.items()))
    share = count / sum(found.values())
    if share >= ONE_LANGUAGE:
        checks |= {"languages": [language], "min_language_share": round(share - 0.05, 2)}
    asked = {column.name: check for column in columns if (check := column.check(rows))}
    return checks | ({"columns": {name: asked}} if asked else {})


def _round_up(value: int) -> int:
    """Return the value with one digit that is not zero."""
    power = int(10 ** (len(str(value)) - 1))
    return -(-value // power) * power


def _plain(value: float) -> int | float:
    return int(value) if abs(value) < 2**53 else value
