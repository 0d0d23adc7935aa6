"""Each method deals whole groups, in the shares asked for, whatever the order of the rows."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from split_names import assign_splits
from text_cases import quick, strings

from pipeline.config import Split
from pipeline.data.text.splits import SPLITS, TEST, TRAIN, VALIDATION, assign_at, place_groups
from pipeline.errors import SourceError

groups = st.lists(st.text(max_size=8), max_size=40)


def assign(split: Split, groups: pa.Array, column: pa.Array | None = None, rows: pa.Array | None = None) -> np.ndarray:
    return assign_at(split, place_groups(groups, split.salt), column, rows)


@given(groups, groups, st.text(max_size=5))
def test_rows_keep_their_split_whatever_stands_beside_them(before, added, salt) -> None:
    split = Split(salt=salt)
    alone = dict(zip(before, assign_splits(before, split), strict=True))
    mixed = [*reversed(added), *reversed(before)]
    together = dict(zip(mixed, assign_splits(mixed, split), strict=True))
    assert {group: together[group] for group in before} == alone
    assert set(together.values()) <= set(SPLITS)


@given(groups)
def test_a_group_never_crosses(names) -> None:
    places = set(zip(names * 2, assign_splits(names * 2, Split()), strict=True))
    assert len(places) == len(set(names))


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.2, 0.05), (0.01, 0.4)])
def test_the_fractions_are_what_the_recipe_asks_for(validation, test) -> None:
    number = 20_000
    counts = Counter(assign_splits(map(str, range(number)), Split(validation=validation, test=test)))
    assert counts["test"] / number == pytest.approx(test, abs=0.012)
    assert counts["validation"] / number == pytest.approx(validation, abs=0.012)


def test_another_salt_deals_another_split() -> None:
    names = [str(number) for number in range(1000)]
    first, second = (assign_splits(names, Split(salt=salt)) for salt in ("one", "two"))
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 200


def test_salt_and_group_do_not_run_into_each_other() -> None:
    names = [f"b{number}" for number in range(1000)]
    joined = assign_splits([f"b{name}" for name in names], Split(salt="a"))
    assert assign_splits(names, Split(salt="ab")) != joined


def test_more_test_rows_take_none_back_to_training() -> None:
    names = [str(number) for number in range(2000)]
    small, large = (assign_splits(names, Split(test=test)) for test in (0.1, 0.2))
    assert all(after == "test" for before, after in zip(small, large, strict=True) if before == "test")


def test_the_place_of_a_group_is_fixed_for_good() -> None:
    # Another release that deals these differently would test old models on rows they were trained on.
    names = [*(f"A{number:02d}" for number in range(30)), "", "é"]
    split = assign_splits(names, Split(validation=0.2, test=0.2))
    dealt = {part: [name for name, place in zip(names, split, strict=True) if place == part] for part in SPLITS}
    assert dealt["test"] == ["A03", "A08", "A10", "A21", "A22", "A29"]
    assert dealt["validation"] == ["A00", "A07", "A14", "A15", "A16", "A17", "A18", "A20"]


def test_blocks_are_dealt_as_the_whole_is() -> None:
    names = strings([f"group {number % 70}" for number in range(200)])
    whole = assign(Split(), names)
    assert np.concatenate([assign(Split(), names.slice(start, 64)) for start in range(0, 200, 64)]).tolist() == list(
        whole
    )
    assert assign(Split(), pa.chunked_array([names.slice(0, 99), names.slice(99)])).tolist() == list(whole)


def test_a_row_without_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 groups are null"):
        place_groups(strings(["a", None]), "salt")


# Stratified.

STRATIFIED = Split(method="stratified", column="label")
labelled = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=60)


def shares(dealt: np.ndarray) -> list[int]:
    return np.bincount(dealt, minlength=len(SPLITS)).tolist()


@quick
@given(labelled, st.randoms())
def test_stratified_keeps_groups_whole_and_ignores_the_order(rows, chance) -> None:
    def deal(rows: list[tuple[int, int]]) -> set[tuple[int, int]]:
        groups, labels = strings([str(group) for group, _ in rows]), strings([str(label) for _, label in rows])
        return {(group, place) for (group, _), place in zip(rows, assign(STRATIFIED, groups, labels), strict=True)}

    dealt = deal(rows)
    assert len(dealt) == len({group for group, _ in rows})
    chance.shuffle(rows)
    assert deal(rows) == dealt


@quick
@given(st.lists(st.integers(1, 60), max_size=8), st.sampled_from([(0.1, 0.1), (0.2, 0.05), (0.45, 0.45), (0.01, 0.49)]))
def test_every_split_has_its_share_of_every_label(counts, asked) -> None:
    split = Split(method="stratified", column="label", validation=asked[0], test=asked[1])
    labels = np.repeat(np.arange(len(counts)), counts)
    dealt = assign(
        split, strings([f"row {row}" for row in range(len(labels))]), pa.array(labels.astype(str), pa.string())
    )
    for label, count in enumerate(counts):
        train, validation, test = shares(dealt[labels == label])
        assert abs(test - count * split.test) <= 1
        assert abs(validation - count * split.validation) <= 1
        assert train
        assert count < 3 or (validation and test)


def test_a_group_of_several_labels_counts_once() -> None:
    groups = strings([f"group {row // 2}" for row in range(40)])
    labels = strings(["a", "b"] * 20)
    split = Split(method="stratified", column="label", validation=0.2, test=0.2)
    assert shares(assign(split, groups, labels)) == [24, 8, 8]


def test_another_salt_deals_another_stratified_split() -> None:
    groups, labels = strings([str(row) for row in range(200)]), strings(["a"] * 200)
    first, second = (
        assign(Split(method="stratified", column="label", salt=salt), groups, labels) for salt in ("one", "two")
    )
    assert shares(first) == shares(second)
    assert (first != second).any()


# Time.


def deal_by_time(times: list[str | None], groups: list[str] | None = None, **shares: float) -> list[int]:
    names = strings(groups or [f"row {row}" for row in range(len(times))])
    return assign(Split(method="time", column="day", **shares), names, strings(times)).tolist()


@quick
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=3, max_size=40))
def test_time_keeps_groups_and_times_whole(rows) -> None:
    groups, times = [str(group) for group, _ in rows], [str(time) for _, time in rows]
    latest = {group: max(time for other, time in rows if str(other) == group) for group in groups}
    if len(set(latest.values())) < 3:
        with pytest.raises(SourceError, match="at least 3"):
            deal_by_time(times, groups)
        return
    dealt = deal_by_time(times, groups)
    by_lateness = sorted(set(zip((latest[group] for group in groups), dealt, strict=True)))
    assert [place for _, place in by_lateness] == sorted(place for _, place in by_lateness)
    assert len({time for time, _ in by_lateness}) == len(by_lateness)
    assert set(dealt) == {TRAIN, VALIDATION, TEST}


@pytest.mark.parametrize(
    "write",
    [
        lambda day: f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}",
        lambda day: f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}T12:00:00+02:00",
        lambda day: f" {day - 50} ",
        lambda day: f"+{day}.5e3",
    ],
    ids=["dates", "moments", "integers", "numbers"],
)
def test_the_latest_rows_are_for_the_test(write) -> None:
    days = [(7 * row) % 100 for row in range(100)]
    dealt = deal_by_time([write(day) for day in days], validation=0.1, test=0.2)
    assert dealt == [TEST if day >= 80 else VALIDATION if day >= 70 else TRAIN for day in days]


def test_moments_of_different_zones_are_compared_as_moments() -> None:
    times = ["2024-01-01T01:00:00+09:00", "2023-12-31T20:00:00Z", "2023-12-31T18:00:00-05:00"]
    assert deal_by_time(times) == [TRAIN, VALIDATION, TEST]


def test_one_busy_day_is_not_divided() -> None:
    assert deal_by_time(["1"] * 5 + ["2"] * 80 + ["3"] * 4 + ["4"] * 11) == [0] * 85 + [1] * 4 + [2] * 11


@pytest.mark.parametrize(("value", "said"), [("soon", "'soon'"), (None, "no value"), ("2024-13-01", "'2024-13-01'")])
def test_a_row_without_a_readable_date_is_named(value, said) -> None:
    with pytest.raises(SourceError, match=f"row 2 has {said} .* ISO date"):
        deal_by_time(["2024-01-01", value, "2024-01-03"])


# Given.


def deal_given(values: list[str | None], **others: str) -> list[int]:
    groups = strings([f"row {row}" for row in range(len(values))])
    return assign(Split(method="given", column="part", **others), groups, strings(values)).tolist()


def test_given_splits_are_taken_by_their_usual_names() -> None:
    assert deal_given(["train", "Dev", " test ", "validation", "training", "eval", "val", "valid"]) == [
        TRAIN, VALIDATION, TEST, VALIDATION, TRAIN, TEST, VALIDATION, VALIDATION,
    ]  # fmt: skip


@pytest.mark.parametrize("missing", [VALIDATION, TEST])
def test_a_missing_split_is_carved_out_of_training_only(missing) -> None:
    other = VALIDATION + TEST - missing
    values = [SPLITS[TRAIN] if row % 4 else SPLITS[other] for row in range(2000)]
    dealt = np.array(deal_given(values))
    assert (dealt[::4] == other).all()
    rest = np.delete(dealt, np.s_[::4])
    assert set(rest) == {TRAIN, missing}
    assert (rest == missing).mean() == pytest.approx(0.1, abs=0.03)


def test_both_missing_is_a_split_by_hash() -> None:
    groups = strings([f"row {row}" for row in range(500)])
    assert deal_given(["train"] * 500) == assign(Split(), groups).tolist()


@pytest.mark.parametrize(("value", "said"), [("tset", "'tset'"), (None, "no value")])
def test_an_unknown_given_split_is_an_error(value, said) -> None:
    with pytest.raises(SourceError, match=f"row 3 has {said} .* one of train, "):
        deal_given(["train", "test", value])
    with pytest.raises(SourceError, match=r"row notes\.csv:9 has"):
        assign(Split(), strings(["a"]), strings([value]), strings(["notes.csv:9"]))


def test_auto_is_given_where_the_source_has_splits() -> None:
    groups = strings(["a", "b", "c"])
    assert assign(Split(), groups, strings(["test", "train", "dev"])).tolist() == [TEST, TRAIN, VALIDATION]
    assert assign(Split(), groups).tolist() == assign(Split(), groups).tolist()


def test_a_method_without_its_column_is_an_error() -> None:
    with pytest.raises(SourceError, match="method time needs a column"):
        assign(Split(method="time", column="day"), strings(["a"]))


@pytest.mark.parametrize("method", ["hash", "stratified", "given"])
def test_no_rows(method) -> None:
    column = None if method == "hash" else strings([])
    split = Split(method=method, column=None if method == "hash" else "x")
    assert assign(split, strings([]), column).tolist() == []
