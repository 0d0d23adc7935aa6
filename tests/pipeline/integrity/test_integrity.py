"""Manifests and signatures: what they cover, and every way in which they do not fit."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from key_files import make_keys

from pipeline.errors import IntegrityError
from pipeline.integrity import MANIFEST, SIGNATURE, Keys, check_manifest, write_manifest

WHOSE = {"model": "clinic-organ"}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    (folder / "reference").mkdir(parents=True)
    (folder / "model.keras").write_bytes(b"weights")
    (folder / "reference" / "organ.json").write_text("{}")
    (folder / ".gitignore").write_text("what a signer might leave out")
    return folder


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


def signed(export: Path, keys: Keys) -> Path:
    write_manifest(export, WHOSE)
    keys.sign(export, export / SIGNATURE)
    return export


CHANGES = {
    "changed: model.keras": lambda folder: (folder / "model.keras").write_bytes(b"weightz"),
    "changed: .gitignore": lambda folder: (folder / ".gitignore").write_text("else"),
    "missing: reference/organ.json": lambda folder: (folder / "reference" / "organ.json").unlink(),
    "not in the manifest: extra.py": lambda folder: (folder / "extra.py").write_text("import os"),
}


def test_what_was_sealed_is_accepted_and_told_whose_it_is(export: Path, keys: Keys) -> None:
    digest = write_manifest(export, WHOSE)
    keys.sign(export, export / SIGNATURE)
    keys.verify_signature(export, "it")
    assert check_manifest(export, "it", digest)["of"] == WHOSE
    with pytest.raises(IntegrityError, match="is not the one that was registered"):
        check_manifest(export, "it", "0" * 64)


@pytest.mark.parametrize("told", CHANGES)
def test_every_change_is_seen_by_the_manifest_and_by_the_signature(export: Path, keys: Keys, told: str) -> None:
    signed(export, keys)
    CHANGES[told](export)
    with pytest.raises(IntegrityError, match=told):
        check_manifest(export, "it")
    with pytest.raises(IntegrityError, match="Signature mismatch"):
        keys.verify_signature(export, "it")


def test_a_manifest_made_anew_does_not_help_without_the_key(export: Path, keys: Keys) -> None:
    signed(export, keys)
    (export / "model.keras").write_bytes(b"other weights")
    write_manifest(export, WHOSE)
    check_manifest(export, "it")
    with pytest.raises(IntegrityError, match="Signature mismatch"):
        keys.verify_signature(export, "it")


def test_a_link_is_no_file_of_an_export(export: Path) -> None:
    write_manifest(export, WHOSE)
    (export / "model.keras").rename(export.parent / "elsewhere")
    (export / "model.keras").symlink_to(export.parent / "elsewhere")
    with pytest.raises(IntegrityError, match="link"):
        check_manifest(export, "it")


@pytest.mark.parametrize("content", ["", "{}", "[]", "{not json", '{"files": 3}'])
def test_a_damaged_manifest_or_signature_is_told(export: Path, keys: Keys, content: str) -> None:
    signed(export, keys)
    (export / SIGNATURE).write_text(content)
    with pytest.raises(IntegrityError, match="signature of it"):
        keys.verify_signature(export, "it")
    (export / MANIFEST).write_text(content)
    with pytest.raises(IntegrityError, match="cannot be checked"):
        check_manifest(export, "it")


def test_a_signature_of_somebody_else_is_refused(export: Path, keys: Keys, tmp_path: Path) -> None:
    signed(export, make_keys(tmp_path / "others"))
    with pytest.raises(IntegrityError, match="Key mismatch"):
        keys.verify_signature(export, "it")
    (export / SIGNATURE).unlink()
    with pytest.raises(IntegrityError, match=r"it is not signed.*tradewind models sign"):
        keys.verify_signature(export, "it")


def test_a_key_under_another_hint_is_refused_too(export: Path, keys: Keys, tmp_path: Path) -> None:
    """The hint in the bundle is unsigned: whoever forges a signature writes the hint of the right key into it."""
    signed(export, make_keys(tmp_path / "others"))
    forged = json.loads((export / SIGNATURE).read_text())
    keys.sign(export, export.parent / "right.sig")
    right = json.loads((export.parent / "right.sig").read_text())
    forged["verificationMaterial"] = right["verificationMaterial"]
    (export / SIGNATURE).write_text(json.dumps(forged))
    with pytest.raises(IntegrityError, match="InvalidSignature"):
        keys.verify_signature(export, "it")


def test_an_encrypted_key_signs_with_its_password_only(export: Path, tmp_path: Path) -> None:
    locked = make_keys(tmp_path / "locked", "open sesame")
    locked.check()
    signed(export, locked)
    locked.verify_signature(export, "it")
    for password in (None, "wrong"):
        with pytest.raises(IntegrityError, match=r"(?s)TRADEWIND_SIGNING_KEY is .*cannot be used.*openssl"):
            replace(locked, password=password).check()


def test_keys_that_cannot_work_are_refused_before_anything_else(keys: Keys, tmp_path: Path) -> None:
    Keys().check()
    Keys(signing=keys.signing).check()
    other = make_keys(tmp_path / "others")
    edwards = make_keys(tmp_path / "edwards", kind="ed25519")
    (tmp_path / "text.pem").write_text("no key")
    for wrong, told in (
        (Keys(verify=keys.verify), "set TRADEWIND_SIGNING_KEY"),
        (Keys(keys.signing, other.verify), "not a pair"),
        (Keys(signing=tmp_path / "nowhere.pem"), "FileNotFoundError"),
        (Keys(signing=tmp_path / "text.pem"), "P-256"),
        (edwards, "Ed25519"),
        (Keys(signing=keys.verify), "cannot be used"),
    ):
        with pytest.raises(IntegrityError, match=told):
            wrong.check()


def test_the_librarys_own_command_accepts_what_we_signed(export: Path, keys: Keys) -> None:
    (export / ".gitignore").unlink()  # which the command leaves out unless it is told not to
    signed(export, keys)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(export)]
    options = ["--signature", str(export / SIGNATURE), "--public_key", str(keys.verify)]
    assert subprocess.run([*command, *options], capture_output=True, check=False).returncode == 0
    (export / "model.keras").write_bytes(b"other")
    assert subprocess.run([*command, *options], capture_output=True, check=False).returncode != 0
