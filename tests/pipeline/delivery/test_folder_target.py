"""Versions in folders and buckets: whole or not there, once, and never over another's files."""

import hashlib
import json
from pathlib import Path

import fsspec
import pytest
from delivery_cases import MODEL
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.cli.application import execute
from pipeline.delivery import deliver, deliver_all, deliveries_of, require_targets
from pipeline.errors import DeliveryError, IntegrityError, RecipeError
from pipeline.integrity import MANIFEST, check_manifest
from pipeline.registry import CHAMPION, Registry, rollback


class Flaky(MemoryFileSystem):
    """A bucket that breaks while its `breaks`-th file is written."""

    protocol = "flaky"
    store: dict = {}
    pseudo_dirs = [""]
    breaks = 0
    cachable = False

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("flaky://"))

    def put_file(self, lpath, rpath, **kwargs):
        type(self).breaks -= 1
        if type(self).breaks == 0:
            raise ConnectionResetError("the line is dead")
        super().put_file(lpath, rpath, **kwargs)


@pytest.fixture
def bucket() -> str:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.store.clear()
    Flaky.breaks = 0
    return "flaky://models"


def latest(url: str) -> dict:
    system, root = fsspec.core.url_to_fs(url)
    return json.loads(system.cat_file(f"{root}/{MODEL}/latest.json"))


@pytest.mark.parametrize("kind", ["file", "bucket"])
def test_the_whole_version_arrives_once(registry: Registry, tmp_path: Path, bucket: str, kind: str) -> None:
    url = (tmp_path / "out" / "models").as_uri() if kind == "file" else bucket
    champion = registry.champion(MODEL)
    made = deliver(registry, champion, url)
    system, root = fsspec.core.url_to_fs(url)
    assert made.place.endswith(f"models/{MODEL}/2")
    fetched = tmp_path / "fetched"
    system.get(f"{root}/{MODEL}/2/", str(fetched), recursive=True)
    check_manifest(fetched, "it")
    pointer = latest(url)
    assert (pointer["version"], pointer["folder"]) == ("2", "2")
    assert pointer["manifest_sha256"] == hashlib.sha256((fetched / MANIFEST).read_bytes()).hexdigest()
    assert not [name for name in system.find(root) if name.endswith(".partial")]

    # The second time nothing is written, not even looked at.
    system.rm(root, recursive=True)
    again = deliver(registry, registry.champion(MODEL), url)
    assert again == made == deliveries_of(registry, MODEL)[0]
    assert not system.exists(f"{root}/{MODEL}")


def test_a_broken_line_leaves_the_latest_and_the_next_try_finishes(registry: Registry, bucket: str) -> None:
    deliver(registry, registry.version(MODEL, "1"), bucket)
    Flaky.breaks = 3
    with pytest.raises(
        DeliveryError, match=r"(?s)version 2 could not .*line is dead.* tradewind models push clinic-or"
    ):
        deliver(registry, registry.champion(MODEL), bucket)
    assert latest(bucket)["version"] == "1"
    assert f"/models/{MODEL}/2/{MANIFEST}" not in Flaky.store
    assert registry.champion(MODEL).version == "2"
    assert [each.version for each in deliveries_of(registry, MODEL)] == ["1"]
    deliver(registry, registry.champion(MODEL), bucket)
    assert latest(bucket)["version"] == "2"


def test_one_target_that_fails_does_not_keep_the_others_from_theirs(
    registry: Registry, tmp_path: Path, bucket: str
) -> None:
    Flaky.breaks = 1
    urls, said = [bucket, (tmp_path / "out").as_uri()], []
    with pytest.raises(DeliveryError, match="line is dead"):
        deliver_all(registry, registry.champion(MODEL), urls, said.append)
    assert latest(urls[1])["version"] == "2"
    assert len(said) == 1
    assert [each.url for each in deliver_all(registry, registry.champion(MODEL), urls, said.append)] == urls


def test_a_target_follows_the_champion_back(registry: Registry, bucket: str) -> None:
    for number in ("1", "2"):
        deliver(registry, registry.version(MODEL, number), bucket)
    rollback(registry, MODEL, "complaints")
    deliver(registry, registry.champion(MODEL), bucket)
    assert latest(bucket)["version"] == "1"
    assert [each.version for each in deliveries_of(registry, MODEL, bucket)] == ["1", "2"]


def test_files_of_another_registry_are_not_overwritten(registry: Registry, bucket: str) -> None:
    Flaky().pipe_file(f"/models/{MODEL}/2/{MANIFEST}", b"{}")
    with pytest.raises(DeliveryError, match="nothing there is overwritten"):
        deliver(registry, registry.champion(MODEL), bucket)


def test_a_damaged_version_is_not_handed_on(registry: Registry, bucket: str, tmp_path: Path) -> None:
    import shutil
    from dataclasses import replace

    champion = registry.champion(MODEL)
    damaged = replace(champion, bundle=shutil.copytree(champion.bundle, tmp_path / "damaged"))
    (damaged.bundle / "model.keras").write_bytes(b"half")
    with pytest.raises(IntegrityError, match=r"changed: model\.keras"):
        deliver(registry, damaged, bucket)
    assert not Flaky.store


def test_what_a_target_needs_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "a file").touch()
    require_targets([(tmp_path / "new" / "folder").as_uri()])
    for url, told in (
        ("hf://clinic/organ", "HF_TOKEN"),
        ("kaggle://clinic/organ/keras/default", "KAGGLE_API_TOKEN"),
        ("kaggle://clinic/organ/abacus/default", "no such framework"),
        ((tmp_path / "a file" / "models").as_uri(), "not a folder that can be written"),
        ("abfs://container/models", "library is not installed"),
    ):
        with pytest.raises(RecipeError, match=told):
            require_targets([url])


def test_push_and_show_say_where_it_is(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("COLUMNS", "300")

    def tradewind(*arguments: str) -> tuple[int, str]:
        code = execute(["models", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    url = (tmp_path / "out").as_uri()
    code, said = tradewind("push", f"{MODEL}@previous", url)
    assert code == 0
    assert said.startswith(f"version 1 is at {url}/{MODEL}/1 (brought by ")
    assert f"{url}/{MODEL}/1" in tradewind("show", f"{MODEL}:1")[1]
    assert "also at" not in tradewind("show", f"{MODEL}:2")[1]
    code, said = tradewind("push", MODEL, "ftp//models")
    assert (code, "is no address of a target; expected file:///FOLDER" in said.replace("\n", " ")) == (1, True)
    assert registry.aliases(MODEL)[CHAMPION] == "2"
