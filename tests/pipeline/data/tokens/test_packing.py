"""Packing loses nothing, mixes nothing, and wastes little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.tokens.packing import PackedRows, cut, pack
from pipeline.data.tokens.ragged import Ragged

LENGTH = 24
PAD = 1
lengths = st.lists(st.integers(1, LENGTH), max_size=60)
seeds = st.integers(0, 2**31 - 1)
caps = st.one_of(st.none(), st.integers(1, 6))


def make_documents(sizes: list[int]) -> Ragged:
    """Documents in which every token of all is different, so that a lost or repeated one shows."""
    ends = np.cumsum(sizes)
    return Ragged.of([np.arange(end - size + 3, end + 3) for size, end in zip(sizes, ends, strict=True)])


def unpack(packed: PackedRows) -> dict[int, list[int]]:
    """Return document number -> tokens, reading every segment where `documents` says it is."""
    found: dict[int, list[int]] = {}
    for tokens, segments, owners in zip(packed.token_ids, packed.segment_ids, packed.documents, strict=True):
        for segment, owner in enumerate(owners.tolist(), start=1):
            if owner >= 0:
                assert owner not in found
                found[owner] = tokens[segments == segment].tolist()
    return found


@given(lengths, seeds, caps)
def test_every_document_comes_back_whole_and_once(sizes, seed, cap) -> None:
    documents = make_documents(sizes)
    packed = pack(documents, LENGTH, seed, PAD, cap)
    assert unpack(packed) == {number: document.tolist() for number, document in enumerate(documents)}
    assert np.count_nonzero(packed.segment_ids) == sum(sizes)
    assert (packed.token_ids[packed.segment_ids == 0] == PAD).all()


@given(lengths, seeds, caps)
def test_segments_stand_side_by_side_numbered_from_one(sizes, seed, cap) -> None:
    packed = pack(make_documents(sizes), LENGTH, seed, PAD, cap)
    for segments, owners in zip(packed.segment_ids, packed.documents, strict=True):
        count = int((owners >= 0).sum())
        expected = [number for number, owner in enumerate(owners[:count], start=1) for _ in range(sizes[owner])]
        assert (owners[count:] == -1).all()
        assert segments.tolist() == expected + [0] * (LENGTH - len(expected))
        assert count <= (cap or LENGTH)


@given(lengths, seeds, caps)
def test_no_row_is_opened_while_an_open_one_fits(sizes, seed, cap) -> None:
    # Rows stand in the order in which they were opened, so a row's first document fitted in none of those before it;
    # a row only fills up afterwards, unless it is closed because it has as many documents as it may.
    packed = pack(make_documents(sizes), LENGTH, seed, PAD, cap)
    used = np.count_nonzero(packed.segment_ids, axis=1)
    counts = (packed.documents >= 0).sum(axis=1)
    for row in range(len(packed)):
        first = sizes[packed.documents[row, 0]]
        for earlier in range(row):
            assert used[earlier] + first > LENGTH or counts[earlier] == cap
    if cap is None:
        assert len(packed) <= max(1, 2 * sum(sizes) / LENGTH + 1)


@given(lengths, seeds)
def test_the_same_seed_packs_the_same_rows(sizes, seed) -> None:
    documents = make_documents(sizes)
    first, second = pack(documents, LENGTH, seed, PAD), pack(documents, LENGTH, seed, PAD)
    for part in ("token_ids", "segment_ids", "documents"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


@given(lengths, seeds)
def test_each_document_goes_to_the_fullest_row_that_holds_it(sizes, seed) -> None:
    free: list[int] = []
    for document in np.random.default_rng(seed).permutation(len(sizes)):
        fitting = [(room, row) for row, room in enumerate(free) if room >= sizes[document]]
        if fitting:
            free[min(fitting)[1]] -= sizes[document]
        else:
            free.append(LENGTH - sizes[document])
    packed = pack(make_documents(sizes), LENGTH, seed, PAD)
    assert sorted(LENGTH - np.count_nonzero(packed.segment_ids, axis=1)) == sorted(free)


def test_short_documents_leave_hardly_any_padding() -> None:
    sizes = np.random.default_rng(0).integers(3, 40, 2000).tolist()
    packed = pack(make_documents(sizes), 128, seed=1, pad=PAD)
    assert sum(sizes) / packed.token_ids.size > 0.99


def test_neighbours_in_the_input_do_not_share_rows() -> None:
    packed = pack(make_documents([4] * 600), LENGTH, seed=3, pad=PAD)
    gaps = np.abs(np.diff(packed.documents, axis=1))
    assert np.median(gaps) > 50


@pytest.mark.parametrize("sizes", [[3, LENGTH + 1], [3, 0]])
def test_a_document_that_no_row_holds_is_refused(sizes) -> None:
    with pytest.raises(ValueError, match=rf"documents have {min(sizes)} to {max(sizes)} tokens; a row holds 1 to 24"):
        pack(make_documents(sizes), LENGTH, seed=0, pad=PAD)


def test_no_documents_are_no_rows() -> None:
    packed = pack(Ragged.of([]), LENGTH, seed=0, pad=PAD)
    assert len(packed) == 0
    assert packed.token_ids.shape == packed.segment_ids.shape == (0, LENGTH)


@given(st.lists(st.integers(0, 100), max_size=8), st.integers(1, 30))
def test_cutting_loses_nothing_and_joins_nothing(sizes, length) -> None:
    documents = make_documents(sizes)
    pieces = cut(documents, length)
    assert pieces.values.tolist() == documents.values.tolist()
    assert all(1 <= size <= length for size in pieces.lengths)
    assert set(documents.offsets[:-1][documents.lengths > 0]) <= set(pieces.offsets)
    assert len(pieces) == sum(-(-size // length) for size in sizes)
