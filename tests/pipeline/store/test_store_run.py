from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StoreError
from pipeline.store import Artifact, Factors, Store

Work = Callable[[Path], dict[str, Any]]


def write(out: Path) -> dict[str, Any]:
    (out / "model").mkdir(exist_ok=True)
    (out / "model" / "weights.bin").write_bytes(bytes(range(256)))
    (out / "logs").mkdir(exist_ok=True)
    (out / "logs" / "metrics.jsonl").write_text(os.urandom(8).hex())
    return {"loss": 0.1, "steps": (1, 2)}


def never(out: Path) -> dict[str, Any]:
    raise AssertionError("the work ran although the artifact exists")


def test_work_runs_once_and_a_hit_equals_the_miss(store: Store, factors: Factors, root: Path) -> None:
    made = store.run("pretrain", factors, write)
    again = store.run("pretrain", factors, never)
    elsewhere = Store(root).run("pretrain", factors, never)
    assert (made.hit, again.hit) == (False, True)
    assert replace(made, hit=True) == again == elsewhere
    assert made.result == {"loss": 0.1, "steps": [1, 2]}
    assert made.reference == f"pretrain/{factors.fingerprint()}"
    assert made.path == root / "artifacts" / "pretrain" / factors.fingerprint()
    assert (made.path / "model" / "weights.bin").read_bytes() == bytes(range(256))
    assert list((root / "partial" / "pretrain").iterdir()) == []


def test_the_step_works_in_the_partial_folder(store: Store, factors: Factors, root: Path) -> None:
    def work(out: Path) -> dict[str, Any]:
        assert out == root / "partial" / "pretrain" / factors.fingerprint()
        assert list(out.iterdir()) == []
        assert not (root / "artifacts").exists()
        return {}

    assert store.run("pretrain", factors, work).path.is_dir()


def test_content_ignores_volatile_folders_and_sees_the_rest(store: Store, factors: Factors) -> None:
    def with_file(name: str, text: str) -> Work:
        def work(out: Path) -> dict[str, Any]:
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return {}

        return work

    def content(seed: int, name: str, text: str) -> str:
        return store.run("pretrain", replace(factors, recipe={"seed": seed}), with_file(name, text)).content

    assert content(1, "logs/a", "x") == content(2, "logs/a", "y") == content(3, "deep/data_docs/index.html", "z")
    different = {content(4, "a", "x"), content(5, "a", "y"), content(6, "b", "x"), content(7, "deep/a", "x")}
    assert len(different) == 4
    assert content(8, "a", "x") in different


def test_work_that_raises_leaves_its_files_and_no_artifact(store: Store, factors: Factors, root: Path) -> None:
    def fail(out: Path) -> dict[str, Any]:
        (out / "checkpoint").write_text("half")
        raise ZeroDivisionError("in the step")

    with pytest.raises(ZeroDivisionError, match="in the step"):
        store.run("pretrain", factors, fail)
    assert list(store.artifacts()) == []
    partial = root / "partial" / "pretrain" / factors.fingerprint()
    assert [path.name for path in partial.iterdir()] == ["checkpoint"]

    said: list[str] = []

    def resume(out: Path) -> dict[str, Any]:
        return {"found": (out / "checkpoint").read_text()}

    assert store.run("pretrain", factors, resume, said.append).result == {"found": "half"}
    assert any("resuming" in text and str(partial) in text for text in said)
    assert store.manifest(f"pretrain/{factors.fingerprint()}").resumed


def test_an_os_error_of_the_step_is_its_own(store: Store, factors: Factors) -> None:
    def fail(out: Path) -> dict[str, Any]:
        return {"text": (out / "no such file").read_text()}

    with pytest.raises(FileNotFoundError):
        store.run("pretrain", factors, fail)


def test_death_between_manifest_and_rename_loses_nothing(store: Store, factors: Factors, root: Path) -> None:
    made = store.run("pretrain", factors, write)
    partial = root / "partial" / "pretrain" / factors.fingerprint()
    made.path.replace(partial)
    assert replace(store.run("pretrain", factors, never), hit=False) == made


def test_death_while_the_manifest_is_written_runs_again(store: Store, factors: Factors, root: Path) -> None:
    made = store.run("pretrain", factors, write)
    partial = root / "partial" / "pretrain" / factors.fingerprint()
    made.path.replace(partial)
    manifest = (partial / "manifest.json").read_text()
    (partial / "manifest.json").unlink()
    (partial / "manifest.json.tmp").write_text(manifest[:100])

    def work(out: Path) -> dict[str, Any]:
        assert {path.name for path in out.iterdir()} == {"model", "logs"}
        return write(out)

    again = store.run("pretrain", factors, work)
    assert again.content == made.content
    assert "manifest.json.tmp" not in store.manifest(again.reference).files


@pytest.mark.parametrize("result", [{"path": Path("x")}, {"loss": float("nan")}, {"loss": object()}, [1], None])
def test_result_that_is_not_plain_json_is_refused(store: Store, factors: Factors, result: Any) -> None:
    with pytest.raises(StoreError, match="result of step pretrain"):
        store.run("pretrain", factors, lambda out: result)
    assert list(store.artifacts()) == []


def test_links_are_refused(store: Store, factors: Factors, tmp_path: Path) -> None:
    def link(out: Path) -> dict[str, Any]:
        (out / "link").symlink_to(tmp_path)
        return {}

    with pytest.raises(StoreError, match="link"):
        store.run("pretrain", factors, link)
    assert list(store.artifacts()) == []


def test_manifest_says_where_the_artifact_came_from(store: Store, factors: Factors) -> None:
    artifact = store.run("pretrain", factors, write)
    manifest = json.loads((artifact.path / "manifest.json").read_text())
    assert manifest["schema_version"] == 1
    assert manifest["step"] == "pretrain"
    assert manifest["fingerprint"] == factors.fingerprint()
    assert manifest["recipe"] == factors.recipe
    assert manifest["inputs"] == factors.inputs
    assert manifest["source"] == factors.source
    assert manifest["result"] == artifact.result
    assert manifest["content"] == artifact.content
    assert manifest["files"]["model/weights.bin"]["size"] == 256
    assert set(manifest["files"]) == {"model/weights.bin", "logs/metrics.jsonl"}
    digest = subprocess.run(["sha256sum", artifact.path / "model" / "weights.bin"], capture_output=True, text=True)
    assert manifest["files"]["model/weights.bin"]["sha256"] == digest.stdout.split()[0]
    assert {"python", "keras", "numpy"} <= set(manifest["packages"])
    assert manifest["code"]["version"]
    assert manifest["device"]["cpus"] == os.cpu_count()
    assert manifest["started"].endswith("+00:00")
    assert manifest["seconds"] >= 0
    assert manifest["resumed"] is False


def test_get_takes_a_prefix(store: Store, make: Callable[..., Artifact]) -> None:
    artifacts = [make(seed=seed) for seed in range(40)]
    assert store.get(artifacts[0].reference) == replace(artifacts[0], hit=True)
    assert store.get(artifacts[0].reference[:24]).fingerprint == artifacts[0].fingerprint
    prefix = next(
        a.fingerprint[0] for a in artifacts if sum(b.fingerprint[0] == a.fingerprint[0] for b in artifacts) > 1
    )
    with pytest.raises(StoreError, match=r"fits \d+ artifacts"):
        store.get(f"pretrain/{prefix}")
    for unknown in ("pretrain/0000000000000000", "finetune/ab", "pretrain", "pretrain/", ""):
        with pytest.raises(StoreError, match="no artifact"):
            store.get(unknown)


def test_get_refuses_a_damaged_artifact(store: Store, make: Callable[..., Artifact]) -> None:
    artifact = make()
    (artifact.path / "model.txt").write_text("weightx")
    with pytest.raises(StoreError, match=r"damaged: model\.txt was altered"):
        store.get(artifact.reference)


@pytest.mark.parametrize("address", ["s3://bucket/store", Path("s3://bucket/store"), "gs://bucket", "memory://x"])
def test_remote_root_is_refused(address: str | Path) -> None:
    with pytest.raises(StoreError, match="local folder"):
        Store(address)


def test_nothing_is_created_by_looking(root: Path) -> None:
    store = Store(root)
    assert list(store.artifacts()) == []
    assert store.runs.list() == []
    with pytest.raises(StoreError, match="no artifact"):
        store.get("pretrain/ab")
    assert not root.exists()


def test_the_whole_store_can_be_moved(store: Store, factors: Factors, root: Path, tmp_path: Path) -> None:
    made = store.run("pretrain", factors, write)
    shutil.move(root, tmp_path / "moved")
    moved = Store(tmp_path / "moved").run("pretrain", factors, never)
    assert moved.content == made.content


def test_step_and_factors_must_agree(store: Store, factors: Factors) -> None:
    with pytest.raises(ValueError, match="finetune"):
        store.run("finetune", factors, write)
    with pytest.raises(ValueError, match="step name"):
        store.run("../up", replace(factors, step="../up"), write)
