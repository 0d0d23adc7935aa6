"""Registered versions with checksums and signatures: what is loaded, promoted and taken back, and what is not."""

import json
import shutil
from pathlib import Path

import pytest
from delivery_cases import MODEL, publish
from key_files import make_keys

from pipeline.cli.application import execute
from pipeline.config import Settings
from pipeline.errors import IntegrityError
from pipeline.integrity import MANIFEST, NO_KEYS, SIGNATURE, Keys
from pipeline.registry import CHAMPION, PREVIOUS, Registry, promote, rollback


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    """Two workspaces of which every test gets copies: in one, two unsigned versions; in the other, signed ones."""
    folder = tmp_path_factory.mktemp("workspaces")
    for name, own in (("unsigned", Keys()), ("signed", keys)):
        registry = at(folder / name, own)
        for number in (1, 2):
            publish(registry, export(folder / f"{name}-{number}", number), number)
    return folder


def at(workspace: Path, keys: Keys = NO_KEYS) -> Registry:
    settings = Settings(workspace=workspace, signing_key=keys.signing, verify_key=keys.verify)
    return Registry.for_workspace(settings)


def export(folder: Path, number: int) -> Path:
    folder.mkdir()
    (folder / "model.keras").write_text(f"weights {number}")
    (folder / "bundle.json").write_text('{"kind": "classification"}')
    (folder / "requirements.txt").write_text("keras==3.15.0\n")
    (folder / "MODEL_CARD.md").write_text("a card")
    return folder


@pytest.fixture(params=["unsigned", "signed"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def moved(workspaces: Path, name: str, tmp_path: Path) -> Path:
    """Return a copy; the registry's locations are absolute, so they are rewritten."""
    import sqlite3

    copy = shutil.copytree(workspaces / name, tmp_path / name)
    with sqlite3.connect(copy / "mlflow.db") as database:
        for table, column in (
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
            ("logged_models", "artifact_location"),
            ("experiments", "artifact_location"),
        ):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(workspaces / name), str(copy))
            )
    return copy


def test_damage_is_seen_with_and_without_keys(workspaces: Path, name: str, keys: Keys, tmp_path: Path) -> None:
    registry = at(moved(workspaces, name, tmp_path), keys if name == "signed" else Keys())
    version = registry.champion(MODEL)
    assert version.checked_bundle() == version.bundle
    earlier = registry.version(MODEL, "1").bundle
    (earlier / "model.keras").write_text("weights 9")
    for move in (lambda: promote(registry, MODEL, "1", "why not"), lambda: rollback(registry, MODEL, "why not")):
        with pytest.raises(IntegrityError, match=r"'clinic-organ' version 1 .*changed: model.keras"):
            move()
    assert registry.champion(MODEL).version == "2"


def test_another_versions_files_do_not_take_its_place(workspaces: Path, name: str, keys: Keys, tmp_path: Path) -> None:
    """Not even with the registry's tag changed to fit, where signatures are asked for."""
    import hashlib

    registry = at(moved(workspaces, name, tmp_path), keys if name == "signed" else Keys())
    champion, earlier = registry.champion(MODEL).bundle, registry.version(MODEL, "1").bundle
    shutil.rmtree(champion)
    shutil.copytree(earlier, champion)
    with pytest.raises(IntegrityError, match="is not the one that was registered"):
        registry.champion(MODEL).checked_bundle()
    digest = hashlib.sha256((champion / MANIFEST).read_bytes()).hexdigest()
    registry._client.set_model_version_tag(MODEL, "2", "tradewind.manifest", digest)
    with pytest.raises(IntegrityError, match=r"belong to .*publish/1"):
        registry.champion(MODEL).checked_bundle()


def test_unsigned_versions_are_refused_once_signatures_are_asked_for(
    workspaces: Path, keys: Keys, tmp_path: Path
) -> None:
    workspace = moved(workspaces, "unsigned", tmp_path)
    strict = at(workspace, keys)
    with pytest.raises(IntegrityError, match="version 2 is not signed"):
        strict.champion(MODEL).checked_bundle()
    for move in (lambda: promote(strict, MODEL, "1", "why not"), lambda: rollback(strict, MODEL, "why not")):
        with pytest.raises(IntegrityError, match="version 1 is not signed"):
            move()
    strict.sign(strict.version(MODEL, "1"))
    assert rollback(strict, MODEL, "the other one is not signed").checked_bundle()
    again = publish(strict, workspaces / "unsigned-1", 1)  # a run that finds its version signs it
    assert (again.version, again.signed, again.aliases) == ("1", True, (CHAMPION,))


def test_a_damaged_version_is_not_signed(workspaces: Path, keys: Keys, tmp_path: Path) -> None:
    registry = at(moved(workspaces, "unsigned", tmp_path), keys)
    version = registry.champion(MODEL)
    (version.bundle / "model.keras").write_text("worse")
    with pytest.raises(IntegrityError, match=r"changed: model\.keras"):
        registry.sign(version)
    assert not version.signed


def test_a_run_with_another_key_leaves_the_champion(workspaces: Path, keys: Keys, tmp_path: Path) -> None:
    workspace = moved(workspaces, "signed", tmp_path)
    others = make_keys(tmp_path / "others")
    registry = at(workspace, Keys(others.signing, keys.verify))
    with pytest.raises(IntegrityError, match="Key mismatch"):
        publish(registry, export(tmp_path / "third", 3), 3)
    assert registry.aliases(MODEL) == {CHAMPION: "2", PREVIOUS: "1", "candidate": "3"}


def test_the_whole_version_is_signed_as_it_is_registered(workspaces: Path) -> None:
    bundle = at(workspaces / "signed").champion(MODEL).bundle
    assert sorted(json.loads((bundle / MANIFEST).read_text())["files"]) == [
        *("MODEL_CARD.md", "bundle.json", "model.keras", "requirements.txt"),
    ]
    assert (bundle / SIGNATURE).is_file()


def test_commands_verify_and_sign(
    workspaces: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = moved(workspaces, "unsigned", tmp_path)
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(workspace))

    def tradewind(*arguments: object) -> tuple[int, str]:
        code = execute(["models", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = tradewind("verify", MODEL)
    assert (code, "are those that were registered; not signed" in said) == (0, True)
    code, said = tradewind("verify", MODEL, "--key", keys.verify)
    assert (code, "is not signed" in said) == (1, True)
    code, said = tradewind("sign", MODEL)
    assert (code, "TRADEWIND_SIGNING_KEY is not set" in said) == (1, True)
    monkeypatch.setenv("TRADEWIND_SIGNING_KEY", str(keys.signing))
    assert tradewind("sign", MODEL) == (0, f"{MODEL} version 2 is signed\n")
    code, said = tradewind("verify", f"{MODEL}:2", "--key", keys.verify)
    assert (code, "the signature fits" in said) == (0, True)
    (at(workspace).champion(MODEL).bundle / "extra.txt").write_text("x")
    code, said = tradewind("verify", MODEL)
    assert (code, "not in the manifest: extra.txt" in said.replace("\n", " ")) == (1, True)
