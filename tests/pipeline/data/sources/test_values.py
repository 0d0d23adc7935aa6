import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_frames import frame

from pipeline.config import FilesSource
from pipeline.data.sources import read_source
from pipeline.data.sources.values import as_string


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (Decimal("1.00"), "1"),
        (Decimal("1.50"), "1.5"),
        (0.1, "0.1"),
        (2.0**60, "1.152921504606847e+18"),
        (float("nan"), None),
        (pd.NaT, None),
        (float("inf"), "inf"),
        (True, "true"),
        (None, None),
        ("1.0", "1.0"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        ({"b": [1, None], "a": Decimal("1.0")}, '{"a": "1", "b": [1, null]}'),
        (b"caf\xc3\xa9", "café"),
    ],
)
def test_one_string_for_one_value(value, expected):
    assert as_string(value) == expected


def test_labels_of_float_int_and_text_are_the_same_classes(tmp_path):
    lines = [{"text": "a", "label": 1}, {"text": "b", "label": 1.0}, {"text": "c", "label": "1"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pq.write_table(pa.table({"text": ["d", "e"], "label": [1.0, None]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": ["f"], "label": pa.array([1], pa.int8())}), tmp_path / "c.parquet")
    pq.write_table(pa.table({"text": ["g"], "label": pa.array([Decimal("1.0")])}), tmp_path / "d.parquet")
    rows = frame(read_source("s", FilesSource(path=str(tmp_path / "*"), label="label")))
    assert set(rows["label"].dropna()) == {"1"}
    assert rows["label"].isna().tolist() == [False] * 4 + [True] + [False] * 2


def test_parquet_types_that_have_no_json(tmp_path):
    table = pa.table(
        {
            "text": ["x", "y"],
            "half": pa.array([0.1, float("nan")], pa.float32()),
            "day": pa.array([date(2026, 1, 2), None]),
            "at": pa.array([1_700_000_000_000_000_123, None], pa.timestamp("ns")),
            "tags": pa.array([["b", "a"], None]),
            "raw": pa.array([b"ok", b"caf\xe9"]),
            "large": pa.array(["l", "m"], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    rows = frame(read_source("s", FilesSource(path=str(tmp_path / "r.parquet"))))
    first = ["0.1", "2026-01-02", "2023-11-14T22:13:20.000000123", '["b", "a"]', "ok", "l"]
    assert rows.loc[0, ["half", "day", "at", "tags", "raw", "large"]].tolist() == first
    assert rows.loc[1, ["half", "day", "at", "tags"]].isna().all()
    assert rows.loc[1, "fault"] == "not UTF-8: byte 0xe9 in column raw (r.parquet:2)"
