"""A disk that fills up while shards are written: said in words, nothing half-written, and the same command goes on."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_disk import on_small_disk

SCRIPT = """
import subprocess, sys
from dataclasses import asdict
from pathlib import Path
sys.path[:0] = [sys.argv[2], str(Path(sys.argv[2]).parent)]
from test_preprocess import RECIPE, digests, labelled, ONE_TASK, write_rows
from pipeline.config import Recipe
from pipeline.errors import StoreError
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress
from pipeline.store import Factors, Store

small, rows, workers = Path(sys.argv[1]), Path(sys.argv[3]), int(sys.argv[4])
recipe = Recipe.model_validate(RECIPE | ONE_TASK | {"runtime": {"data_workers": workers}})
factors = Factors("preprocess", {}, {}, "source")
store = Store(small)

def work(out):
    return asdict(preprocess(recipe, rows, out, SilentProgress()))

try:
    store.run("preprocess", factors, work)
except StoreError as error:
    assert "no space left" in str(error) and "it resumes where it stopped" in str(error), error
else:
    raise AssertionError("it fitted on the disk")
assert list(store.artifacts()) == []
assert not list(small.rglob("index.json"))
subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
finished = store.run("preprocess", factors, work)
expected = rows / "expected"
expected.mkdir()
preprocess(recipe, rows, expected, SilentProgress())
found = digests(finished.path)
found.pop("manifest.json")
assert found == digests(expected)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_under_the_shards(tmp_path: Path, workers: int) -> None:
    small, rows = tmp_path / "small", tmp_path / "rows"
    small.mkdir()
    mounted = on_small_disk(small, "512k")
    write_many(rows)
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", SCRIPT, str(small), here, str(rows), str(workers)]
    subprocess.run([*mounted, *command], check=True)


def write_many(folder: Path) -> None:
    """Write a few thousand rows, as `validate` would: more than the small disk holds once they are packed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = folder / "rows" / "notes"
    source.mkdir(parents=True)
    for block in range(4):
        numbers = range(block * 1000, block * 1000 + 1000)
        columns = {
            "row_id": [f"notes:{number}" for number in numbers],
            "text": [f"note {number} about the weather of day {number * 7919 % 365}" for number in numbers],
            "kind": ["rain" if number % 2 else "snow" for number in numbers],
        }
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        pq.write_table(table, source / f"{block:05d}.parquet")
