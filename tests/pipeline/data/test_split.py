"""The split depends on group and salt alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Split
from pipeline.data.split import SPLITS, assign_splits

groups = st.lists(st.text(max_size=8), max_size=40)


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
