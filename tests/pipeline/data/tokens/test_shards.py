"""Packed rows on disk are the rows in memory, wherever the shards' borders fall."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.tokens.packing import pack
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.shards import PARTS, ShardedRows, save_array, write_index, write_shards


def make_rows(documents: int, seed: int = 0):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, documents)
    return pack(Ragged.of([random.integers(3, 300, size) for size in sizes]), 12, seed, pad=0)


def write(folder, *blocks, rows_per_shard: int, documents_before: tuple[int, ...] = ()) -> None:
    shards = []
    for number, rows in enumerate(blocks):
        first = documents_before[number] if documents_before else 0
        shards += [replace(shard, first_document=first) for shard in write_shards(rows, folder, number, rows_per_shard)]
    write_index(shards, folder, 12)


@given(st.integers(1, 60), st.integers(1, 40), st.randoms())
def test_any_rows_in_any_order_are_read_back(tmp_path_factory, documents, rows_per_shard, chance) -> None:
    folder = tmp_path_factory.mktemp("shards")
    rows = make_rows(documents)
    write(folder, rows, rows_per_shard=rows_per_shard)
    shards = ShardedRows(folder)
    numbers = np.array([chance.randrange(len(rows)) for _ in range(7)])
    taken = shards.take(numbers)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(taken, part), getattr(rows, part)[numbers])
        assert getattr(taken, part).dtype == getattr(rows, part).dtype
    assert len(shards) == len(rows)
    assert shards.tokens == np.count_nonzero(rows.segment_ids)
    assert shards.sequence_length == 12
    assert shards.segments_per_row == rows.documents.shape[1]
    assert len(list(folder.glob("*.documents.npy"))) == -(-len(rows) // rows_per_shard)


def test_blocks_follow_each_other_and_their_documents_count_on(tmp_path) -> None:
    blocks = [make_rows(30, seed=1), make_rows(17, seed=2), make_rows(40, seed=3)]
    write(tmp_path, *blocks, rows_per_shard=5, documents_before=(0, 30, 47))
    shards = ShardedRows(tmp_path)
    taken = shards.take(np.arange(len(shards)))
    np.testing.assert_array_equal(taken.token_ids, np.concatenate([block.token_ids for block in blocks]))
    assert sorted(taken.documents[taken.documents >= 0]) == list(range(87))
    before = taken.documents[: len(blocks[0])]
    assert set(before[before >= 0]) == set(range(30))


def test_shards_stay_on_disk(tmp_path) -> None:
    write(tmp_path, make_rows(50), rows_per_shard=4)
    mapped = [array for shard in ShardedRows(tmp_path).arrays for array in shard.values()]
    assert all(isinstance(array, np.memmap) for array in mapped)
    assert all(len(np.load(file)) <= 4 for file in tmp_path.glob("*.npy"))


def test_no_rows_are_an_index_without_shards(tmp_path) -> None:
    write(tmp_path, pack(Ragged.of([]), 12, seed=0, pad=0), rows_per_shard=4)
    shards = ShardedRows(tmp_path)
    assert (len(shards), shards.tokens, shards.sequence_length) == (0, 0, 12)
    assert [file.name for file in tmp_path.iterdir()] == ["index.json"]


def test_the_index_names_every_shard_before_it_is_read(tmp_path) -> None:
    write(tmp_path, make_rows(50), rows_per_shard=4)
    shards = json.loads((tmp_path / "index.json").read_text())["shards"]
    assert [shard["name"] for shard in shards] == [f"00000-{number:03d}" for number in range(len(shards))]
    assert len(shards) == len(list(tmp_path.glob("*.documents.npy")))
    (tmp_path / "00000-001.token_ids.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"00000-001\.token_ids"):
        ShardedRows(tmp_path)


def test_a_full_disk_says_so(tmp_path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_array(Path("/dev/full"), np.zeros(100_000))
    assert caught.value.errno == errno.ENOSPC
