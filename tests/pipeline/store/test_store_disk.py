from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_disk import on_small_disk

from pipeline.errors import StoreError
from pipeline.store import Factors, Store

PREAMBLE = """
import sys
from pathlib import Path
from pipeline.errors import StoreError
from pipeline.store import Factors, Store
store = Store(sys.argv[1])
factors = Factors("pretrain", {"seed": 17}, {}, "source")
def nothing_half_written():
    assert list(store.artifacts()) == []
    assert not list(store.root.rglob("manifest.json*"))
"""

LIMITED = """
import resource
def work(out):
    (out / "weights").write_text("fine")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    return {"text": "x" * 200}
try:
    store.run("pretrain", factors, work)
except StoreError as error:
    assert "largest size allowed" in str(error), error
else:
    raise AssertionError("the manifest fitted below the limit")
nothing_half_written()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert store.run("pretrain", factors, lambda out: {"found": (out / "weights").read_text()}).result == {"found": "fine"}
"""

FULL = """
import contextlib
filler = store.root / "filler"
def fill_disk():
    with open(filler, "wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(512))
def fill(out):
    (out / "kept").write_text("fine")
    (out / "weights").write_bytes(bytes(4_000_000))
def expect_full(work):
    try:
        store.run("pretrain", factors, work)
    except StoreError as error:
        assert "no space left" in str(error) and "tradewind gc" in str(error), error
    else:
        raise AssertionError("it fitted on the disk")
    nothing_half_written()
expect_full(fill)
(store.root / "partial" / "pretrain" / factors.fingerprint() / "weights").unlink()
def fill_elsewhere(out):
    fill_disk()
    return {"text": "x" * 100_000}
expect_full(fill_elsewhere)
filler.unlink()
result = store.run("pretrain", factors, lambda out: {"found": (out / "kept").read_text()}).result
assert result == {"found": "fine"}, result
store.runs.create("run", {"name": "tiny"})
before = store.runs.load("run")
fill_disk()
try:
    store.runs.record("run", "pretrain", {"note": "x" * 100_000})
except StoreError:
    pass
else:
    raise AssertionError("the record fitted on the disk")
assert store.runs.load("run") == before
"""


def test_a_full_device_is_said(store: Store, factors: Factors) -> None:
    def work(out: Path) -> dict[str, Any]:
        Path("/dev/full").write_text("x")
        return {}

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StoreError, match=r"no space left for the store at .* free"):
        store.run("pretrain", factors, work)
    assert list(store.artifacts()) == []


def test_file_size_limit_leaves_nothing_half_written(root: Path) -> None:
    subprocess.run([sys.executable, "-c", PREAMBLE + LIMITED, str(root)], check=True)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    script = [sys.executable, "-c", PREAMBLE + FULL, str(tmp_path)]
    subprocess.run([*on_small_disk(tmp_path, "1m"), *script], check=True)


def test_a_root_that_is_a_file_is_said(tmp_path: Path, factors: Factors) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot be used.*TRADEWIND_WORKSPACE"):
        Store(tmp_path / "file").run("pretrain", factors, lambda out: {})
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "file").runs.create("run", {"name": "tiny"})


def test_a_root_that_may_not_be_written_is_said(factors: Factors) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("this system has no /proc, the one folder not even root may write")
    with pytest.raises(StoreError, match="cannot be used"):
        Store("/proc/tradewind").run("pretrain", factors, lambda out: {})
