"""What an artifact is and where it came from: `manifest.json`, written last, so that its presence means complete."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import StoreError
from pipeline.store.files import Hasher, list_files
from pipeline.store.fingerprint import Factors, digest

NAME = "manifest.json"
DRAFT = f"{NAME}.tmp"
VOLATILE = ("logs", "data_docs")
PACKAGES = (
    "great-expectations",
    "jax",
    "keras",
    "mlflow",
    "numpy",
    "scikit-learn",
    "tensorflow",
    "tokenizers",
    "torch",
)


class Part(BaseModel):
    """A closed, immutable piece of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(Part):
    """What a file must be."""

    sha256: str
    size: int


class Code(Part):
    """Which code ran: the version of the package and, in a git checkout, the commit (`-dirty`: with local changes)."""

    version: str
    commit: str | None


class Device(Part):
    """Where it ran."""

    platform: str
    cpus: int | None


class Manifest(Part):
    """The contents of `manifest.json`.

    `content` is the hash of the files outside `logs/` and `data_docs/`; `recipe`, `inputs` and `source` are the
    factors of the fingerprint; `seconds` is the time of the last attempt, `resumed` whether it found an earlier one's
    files; `seal` is the hash of everything else in the manifest.
    """

    schema_version: Literal[1] = 1
    step: str
    fingerprint: str
    content: str
    inputs: dict[str, str]
    recipe: dict[str, Any]
    source: str
    files: dict[str, FileRecord]
    result: dict[str, Any]
    code: Code
    packages: dict[str, str]
    backend: str | None
    device: Device
    started: str
    seconds: float
    resumed: bool
    seal: str = ""

    def text(self) -> str:
        """Return the manifest as the JSON that `read` accepts."""
        return json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Attempt:
    """When an attempt at a step started (ISO, UTC), how long it took, and whether it found an earlier one's files."""

    started: str
    seconds: float
    resumed: bool


class DamageError(Exception):
    """The artifact is not what its manifest says; the message says how. Never leaves the store."""


def describe(
    folder: Path,
    factors: Factors,
    result: dict[str, Any],
    attempt: Attempt,
    hasher: Hasher,
) -> Manifest:
    """Return the sealed manifest of what lies in `folder`; `result` is plain JSON."""
    files = {
        name: FileRecord(sha256=hasher.sha256(path), size=path.stat().st_size)
        for name, path in list_files(folder).items()
        if name not in (NAME, DRAFT)
    }
    manifest = Manifest(
        step=factors.step,
        fingerprint=factors.fingerprint(),
        content=content_hash(files),
        inputs=dict(factors.inputs),
        recipe=dict(factors.recipe),
        source=factors.source,
        files=files,
        result=result,
        code=Code(version=_version("tradewind") or "unknown", commit=_commit()),
        packages=_versions(),
        backend=_backend(),
        device=Device(platform=platform.platform(), cpus=os.cpu_count()),
        started=attempt.started,
        seconds=attempt.seconds,
        resumed=attempt.resumed,
    )
    return manifest.model_copy(update={"seal": digest(_sealed(manifest.model_dump(mode="json")))})


def read(folder: Path) -> Manifest:
    """Return the manifest in `folder`; raises DamageError when it is missing, unreadable or altered."""
    path = folder / NAME
    if not path.is_file():
        raise DamageError(f"{NAME} is missing")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest.model_validate(values)
    except (ValueError, ValidationError) as error:
        raise DamageError(f"{NAME} is not a manifest of schema 1: {str(error).splitlines()[0]}") from error
    if manifest.seal != digest(_sealed(values)):
        raise DamageError(f"{NAME} was altered")
    return manifest


def check(folder: Path, manifest: Manifest, hasher: Hasher) -> None:
    """Compare the files in `folder` with the manifest; raises DamageError at the first difference, cheap ones first."""
    try:
        found = list_files(folder)
    except StoreError as error:
        raise DamageError(str(error)) from error
    found.pop(NAME)
    for name in manifest.files:
        if name not in found:
            raise DamageError(f"{name} is missing")
    for name, path in found.items():
        if name not in manifest.files:
            raise DamageError(f"{name} does not belong to it")
        if path.stat().st_size != manifest.files[name].size:
            raise DamageError(f"{name} has {path.stat().st_size} bytes instead of {manifest.files[name].size}")
    for name, path in found.items():
        if hasher.sha256(path) != manifest.files[name].sha256:
            raise DamageError(f"{name} was altered")


def content_hash(files: dict[str, FileRecord]) -> str:
    """Return the hash of names and contents of the files that matter to later steps."""
    lasting = {name: record.sha256 for name, record in files.items() if not is_volatile(name)}
    return digest(lasting)


def is_volatile(name: str) -> bool:
    """Tell whether the file lies in a folder whose content differs from run to run."""
    return any(folder in VOLATILE for folder in name.split("/")[:-1])


def _sealed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "seal"}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    versions |= {name: version for name in PACKAGES if (version := _version(name))}
    return versions


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _backend() -> str | None:
    keras = sys.modules.get("keras")
    return str(keras.config.backend()) if keras else None


def _commit() -> str | None:
    """Return the commit of the checkout this file is part of; None when it is installed without one."""
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__)
    ask = [git, "--no-optional-locks", "-C", str(here.parent)]
    # An installed copy may lie inside somebody else's checkout, which then does not track this file.
    if subprocess.run([*ask, "ls-files", "--error-unmatch", here.name], capture_output=True, check=False).returncode:
        return None
    describe_commit = [*ask, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(describe_commit, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
