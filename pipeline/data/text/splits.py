"""Deterministic splits. Rows of one group always share one; a split is its place in SPLITS.

`hash` depends on the group and the salt only: new rows move no old ones, and blocks can be dealt one by one. The other
methods look at all rows at once, and keep a number of eight bytes for each.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Split
from pipeline.data.text.arrays import begins
from pipeline.errors import SourceError

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(len(SPLITS))
GIVEN = {
    "train": TRAIN, "training": TRAIN,
    "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION, "dev": VALIDATION, "development": VALIDATION,
    "test": TEST, "testing": TEST, "eval": TEST, "evaluation": TEST,
}  # fmt: skip
NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"


def assign_at(
    split: Split, places: np.ndarray, column: pa.Array | None = None, rows: pa.Array | None = None
) -> np.ndarray:
    """Return the split of each row, (rows,) int8; by the method `hash`, any block of rows gets what all rows get.

    Args:
        split: Split. The method `auto` is `given` where there is a column, else `hash`.
        places: (rows,) uint64. Where the groups lie, from `place_groups`.
        column: pa.Array of string, (rows,), in chunks or not, or None. Labels, dates or splits, as the method needs.
        rows: pa.Array of string, (rows,), or None. What errors call the rows; default: their numbers from 1.

    Raises:
        SourceError: a row has no value, or one that the method cannot read; or there are too few dates to divide.
    """
    method = split.method if split.method != "auto" else "hash" if column is None else "given"
    if method == "hash":
        return _deal(places, split)
    if column is None:
        raise SourceError(f"preprocess.split.method {method} needs a column, and there is none; set method: hash")
    if method == "stratified":
        return _stratified(places, _codes(column, rows), split)
    if method == "time":
        return _by_time(places, _read_times(column, rows), split)
    return _given(places, _read_splits(column, rows), split)


def place_groups(groups: pa.Array, salt: str) -> np.ndarray:
    """Return where each row's group lies among all 2^64 places, (rows,) uint64: its hash, and so its name too.

    Args:
        groups: pa.Array of string, (rows,), in chunks or not.
        salt: str. Another one deals another split.

    Raises:
        ValueError: a group is null; a row without one is its own group, by its text.
    """
    if groups.null_count:
        raise ValueError(f"{groups.null_count} of {len(groups)} groups are null; fill them with the rows' texts first")
    coded = _dictionary(groups)
    digests = (
        hashlib.blake2b(f"{salt}\0{group}".encode(), digest_size=8).digest() for group in coded.dictionary.to_pylist()
    )
    places = np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
    found: np.ndarray = places[coded.indices.to_numpy()]
    return found


def _deal(places: np.ndarray, split: Split) -> np.ndarray:
    shares = places / 2**64  # uniform in [0, 1)
    found = np.full(len(places), TRAIN, np.int8)
    found[shares < split.test + split.validation] = VALIDATION
    found[shares < split.test] = TEST
    return found


def _stratified(places: np.ndarray, values: np.ndarray, split: Split) -> np.ndarray:
    """Return the splits such that each has its share of the groups of every value, to within one.

    Of a value with three groups or more, each split has one at least. A group of several values counts as of its first
    one in alphabetical order, so that the order of the rows does not matter.
    """
    order = np.lexsort((values, places))
    first = order[begins(places[order])]  # one row of each group, (groups,), by position
    by_value = first[np.argsort(values[first], kind="stable")]
    starts = np.flatnonzero(begins(values[by_value]))
    counts = np.diff([*starts, len(by_value)])
    many = counts >= len(SPLITS)
    test = np.maximum(np.rint(counts * split.test).astype(int), many)
    evaluated = np.maximum(np.rint(counts * (split.test + split.validation)).astype(int), test + many)
    evaluated = np.minimum(evaluated, counts - 1)  # of one group or two, training has the first claim
    rank = np.arange(len(by_value)) - np.repeat(starts, counts)
    dealt = np.full(len(by_value), TRAIN, np.int8)
    dealt[rank < np.repeat(evaluated, counts)] = VALIDATION
    dealt[rank < np.repeat(np.minimum(test, evaluated), counts)] = TEST
    known = places[by_value]
    order = np.argsort(known)
    found: np.ndarray = dealt[order][np.searchsorted(known[order], places)]
    return found


def _by_time(places: np.ndarray, times: np.ndarray, split: Split) -> np.ndarray:
    """Return the splits by time: the latest rows are for the test, those before them for validation.

    A group is as late as its latest row. Rows of one time are never divided, so the shares are as near to those asked
    for as the times allow, and no split is empty.
    """
    _, groups = np.unique(places, return_inverse=True)
    latest = np.full(groups.max(initial=-1) + 1, times.min(initial=0), times.dtype)
    np.maximum.at(latest, groups, times)
    distinct, codes, counts = np.unique(latest[groups], return_inverse=True, return_counts=True)
    if len(distinct) < len(SPLITS):
        raise SourceError(
            f"preprocess.split.method is time, and the groups' latest rows fall on {len(distinct)} different times of "
            f"column {split.column!r}; expected at least {len(SPLITS)}: name a finer column, or set another method"
        )
    until = np.cumsum(counts) / len(places)  # share of the rows up to each time
    last_trained = int(np.abs(until - (1 - split.test - split.validation)).argmin())
    last_trained = min(last_trained, len(distinct) - 3)
    last_validated = int(np.abs(until - (1 - split.test)).argmin())
    last_validated = min(max(last_validated, last_trained + 1), len(distinct) - 2)
    return ((codes > last_trained).astype(np.int8) + (codes > last_validated)).astype(np.int8)


def _given(places: np.ndarray, given: np.ndarray, split: Split) -> np.ndarray:
    """Return the splits as given; one of which no row is given is carved out of training by hash."""
    dealt = _deal(places, split)
    missing = [place for place in (VALIDATION, TEST) if not (given == place).any()]
    return np.where((given == TRAIN) & np.isin(dealt, missing), dealt, given).astype(np.int8)


def _codes(column: pa.Array, rows: pa.Array | None) -> np.ndarray:
    """Return the place of each value in alphabetical order, (rows,) int64."""
    _refuse(pc.is_null(column), column, rows, "the method stratified needs a value in every row")
    coded = _dictionary(column)
    ranks = np.argsort(np.argsort(coded.dictionary.to_numpy(zero_copy_only=False)))
    found: np.ndarray = ranks[coded.indices.to_numpy()]
    return found


def _read_times(column: pa.Array, rows: pa.Array | None) -> np.ndarray:
    """Return numbers as they are, (rows,) float64, and ISO dates as microseconds since 1970, (rows,) int64."""
    expected = "the method time needs an ISO date in every row, such as 2024-05-01, or a number in every row"
    _refuse(pc.is_null(column), column, rows, expected)
    coded = _dictionary(column)
    written = pc.utf8_trim_whitespace(coded.dictionary)
    if pc.all(pc.match_substring_regex(written, NUMBER)).as_py():
        times = pc.cast(pc.utf8_ltrim(written, "+"), pa.float64()).to_numpy()
    else:
        dates = pd.to_datetime(written.to_pandas(), format="ISO8601", utc=True, errors="coerce")
        _refuse(pc.take(pa.array(dates.isna()), coded.indices), column, rows, expected)
        times = dates.dt.as_unit("us").astype("int64").to_numpy()
    found: np.ndarray = times[coded.indices.to_numpy()]
    return found


def _read_splits(column: pa.Array, rows: pa.Array | None) -> np.ndarray:
    """Return the places of given splits, (rows,) int8."""
    coded = _dictionary(column)
    names = [str(name).strip().lower() for name in coded.dictionary.to_pylist()]
    places = np.array([GIVEN.get(name, -1) for name in names] + [-1], np.int8)
    found: np.ndarray = places[pc.fill_null(coded.indices, len(names)).to_numpy(zero_copy_only=False)]
    _refuse(pa.array(found < 0), column, rows, f"a given split is one of {', '.join(GIVEN)}")
    return found


def _refuse(wrong: pa.Array, column: pa.Array, rows: pa.Array | None, expected: str) -> None:
    """Raise for the first row that is wrong."""
    place = pc.index(wrong, value=True).as_py()
    if place < 0:
        return
    value = column[place].as_py()
    name = place + 1 if rows is None else rows[place].as_py()
    raise SourceError(
        f"row {name} has {'no value' if value is None else repr(value)} in the column of preprocess.split; {expected}. "
        "Correct the row, or set another preprocess.split.method"
    )


def _dictionary(column: pa.Array) -> pa.DictionaryArray:
    chunks = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return pc.dictionary_encode(chunks).combine_chunks()
