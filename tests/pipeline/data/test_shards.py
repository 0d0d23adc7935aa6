"""Packed rows on disk are the rows in memory, wherever the shards' borders fall."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.packing import pack
from pipeline.data.shards import PARTS, ShardedRows, write_shards


def make_rows(documents: int, seed: int = 0):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, documents)
    return pack([random.integers(3, 300, size).astype(np.uint16) for size in sizes], 12, seed)


@given(st.integers(1, 60), st.integers(1, 40), st.randoms())
def test_any_rows_in_any_order_are_read_back(tmp_path_factory, documents, rows_per_shard, chance) -> None:
    folder = tmp_path_factory.mktemp("shards")
    rows = make_rows(documents)
    write_shards(rows, folder, rows_per_shard)
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
    assert len(shards.shards) == -(-len(rows) // rows_per_shard)


def test_shards_stay_on_disk(tmp_path) -> None:
    write_shards(make_rows(50), tmp_path, 4)
    assert all(isinstance(shard[part], np.memmap) for shard in ShardedRows(tmp_path).shards for part in PARTS)
    assert all(len(np.load(file)) <= 4 for file in tmp_path.glob("*.npy"))


def test_no_rows_are_an_index_without_shards(tmp_path) -> None:
    write_shards(pack([], 12, seed=0), tmp_path, 4)
    shards = ShardedRows(tmp_path)
    assert (len(shards), shards.tokens, shards.sequence_length) == (0, 0, 12)
    assert [file.name for file in tmp_path.iterdir()] == ["index.json"]


def test_the_index_names_every_shard_before_it_is_read(tmp_path) -> None:
    write_shards(make_rows(50), tmp_path, 4)
    assert json.loads((tmp_path / "index.json").read_text())["shards"] == len(list(tmp_path.glob("*.documents.npy")))
    (tmp_path / "00001.token_ids.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"00001\.token_ids"):
        ShardedRows(tmp_path)
