import numpy as np
import pyarrow as pa
import pytest

from pipeline.data.quality.figures import spool
from pipeline.data.quality.figures.spool import FirstRows, Spool, group_starts, hash_strings


@pytest.mark.parametrize("bytes_in_memory", [2**30, 1_000])
def test_records_come_back_sorted_and_complete_from_memory_and_from_disk(tmp_path, monkeypatch, bytes_in_memory):
    monkeypatch.setattr(spool, "BYTES_IN_MEMORY", bytes_in_memory)
    random = np.random.default_rng(3)
    keys = random.integers(0, 2**64, 300, dtype=np.uint64).repeat(3)
    random.shuffle(keys)
    records = Spool(tmp_path / "spool", [("number", "u4")])
    for start in range(0, len(keys), 70):
        records.add(keys[start : start + 70], number=np.arange(start, min(start + 70, len(keys))))
    parts = list(records.parts())
    assert (tmp_path / "spool").exists() == (bytes_in_memory == 1_000)
    together = np.concatenate(parts)
    assert (together["key"] == np.sort(keys)).all()
    assert sorted(together["number"]) == list(range(len(keys)))
    assert sum(len(group_starts(part)) for part in parts) == 300


@pytest.mark.parametrize("keys_in_memory", [2**20, 8])
def test_first_rows_tells_the_row_that_had_a_key_before(tmp_path, monkeypatch, keys_in_memory):
    monkeypatch.setattr(spool, "KEYS_IN_MEMORY", keys_in_memory)
    monkeypatch.setattr(spool, "KEYS_PER_RUN", 64)
    random = np.random.default_rng(5)
    keys = random.integers(0, 400, 600).astype(np.uint64)
    numbers = np.cumsum(random.integers(1, 4, 600))
    rows, first, expected, found = FirstRows(tmp_path / "ids"), {}, [], []
    for key, number in zip(keys.tolist(), numbers.tolist(), strict=True):
        expected.append(first.get(key, -1))
        first.setdefault(key, number)
    for start in range(0, 600, 37):
        found += rows.add(keys[start : start + 37], numbers[start : start + 37]).tolist()
    assert found == expected
    assert rows.add(np.empty(0, np.uint64), np.empty(0, np.int64)).tolist() == []
    assert len(rows.runs) < 12


def test_a_hash_depends_on_the_string_alone():
    first, second = hash_strings(pa.array(["a", None, "b"])), hash_strings(pa.chunked_array([["b"], ["a", ""]]))
    assert first.tolist() == [second[1], second[2], second[0]]
    assert len(set(first.tolist())) == 3
    assert first[0] == np.uint64(13950350942979735504)
