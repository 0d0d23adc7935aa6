from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Artifact, Factors, Store
from pipeline.store.files import Hasher

Damage = Callable[[Path], object]


def flip_a_bit(folder: Path) -> None:
    path = folder / "weights.bin"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=times)


def truncate(folder: Path) -> None:
    os.truncate(folder / "weights.bin", 999)


def change_the_log(folder: Path) -> None:
    (folder / "logs" / "metrics.jsonl").write_text("forged")


def replace_by_a_link(folder: Path) -> None:
    (folder / "weights.bin").rename(folder.parent / "moved.bin")
    (folder / "weights.bin").symlink_to(folder.parent / "moved.bin")


def alter_the_result(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"accuracy": 0.5', '"accuracy": 0.9'))


def empty_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("")


def swap_with_another(folder: Path) -> None:
    other = next(path for path in folder.parent.iterdir() if path != folder)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "flipped bit": (flip_a_bit, "weights.bin was altered"),
    "truncated": (truncate, "weights.bin has 999 bytes instead of 1000"),
    "deleted file": (lambda folder: (folder / "weights.bin").unlink(), "weights.bin is missing"),
    "deleted manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    "extra file": (lambda folder: (folder / "note.txt").write_text("hello"), "note.txt does not belong to it"),
    "changed log": (change_the_log, "logs/metrics.jsonl"),
    "link": (replace_by_a_link, "link"),
    "altered result": (alter_the_result, "manifest.json was altered"),
    "empty manifest": (empty_the_manifest, "manifest.json is not a manifest"),
    "other artifact": (swap_with_another, "its manifest is that of"),
}


@pytest.fixture
def run(root: Path) -> Callable[..., Artifact]:
    def run_step(store: Store, seed: int = 17, said: list[str] | None = None) -> Artifact:
        def work(out: Path) -> dict[str, Any]:
            (out / "weights.bin").write_bytes(bytes([seed]) * 1000)
            (out / "logs").mkdir()
            (out / "logs" / "metrics.jsonl").write_text("{}\n")
            return {"accuracy": 0.5}

        said = [] if said is None else said
        return store.run("pretrain", Factors("pretrain", {"seed": seed}, {}, "source"), work, said.append)

    return run_step


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("fresh", [True, False], ids=["new process", "same process"])
def test_damage_is_said_and_computed_again(run: Callable[..., Artifact], root: Path, name: str, fresh: bool) -> None:
    damage, words = DAMAGES[name]
    store = Store(root)
    run(store, seed=18)
    made = run(store)
    damage(made.path)

    said: list[str] = []
    store = Store(root) if fresh else store
    again = run(store, said=said)
    assert not again.hit
    assert len(said) == 1
    assert words in said[0]
    assert "computed again" in said[0]
    assert (again.content, again.result) == (made.content, made.result)
    assert run(Store(root)).hit
    aside = [path.name for path in (root / "discarded").iterdir()]
    assert len(aside) == 1
    assert made.fingerprint in aside[0]


def test_a_remembered_hash_does_not_hide_damage(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(1000))
    hasher = Hasher(settled=0)
    before = hasher.sha256(path)
    assert hasher.sha256(path) == before
    changed = path.stat().st_ctime_ns
    flip_a_bit(tmp_path)
    while path.stat().st_ctime_ns == changed:  # the clock of a file system may tick only every few milliseconds
        path.chmod(0o600)
    assert hasher.sha256(path) != before


def test_a_fresh_file_is_hashed_anew(tmp_path: Path) -> None:
    path, hasher = tmp_path / "weights.bin", Hasher()
    hashes = set()
    for value in range(100):
        path.write_bytes(bytes([value]) * 1000)
        hashes.add(hasher.sha256(path))
    assert len(hashes) == 100


def test_an_artifact_that_a_run_got_and_that_is_gone_is_said(run: Callable[..., Artifact], root: Path) -> None:
    store, said = Store(root), []
    made = run(store, said=said)
    assert said == []
    store.runs.create("first", {"name": "tiny"})
    store.runs.record("first", "pretrain", {"reference": made.reference, "hit": False, "status": "done"})
    shutil.rmtree(made.path)
    assert not run(store, said=said).hit
    assert len(said) == 1
    assert "first" in said[0]
    assert "gone" in said[0]
