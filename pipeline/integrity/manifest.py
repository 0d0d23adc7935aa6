"""The manifest of an export: the sha256 and size of every file, and whose files they are.

It tells damage from soundness. Who can write the files can write the manifest too: against that helps a signature,
which covers the manifest with all other files (`pipeline/integrity/keys.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, StoreError
from pipeline.store.files import list_files

MANIFEST, SIGNATURE = "manifest.json", "model.sig"
SEALS = (MANIFEST, SIGNATURE)
SCHEMA = 1
HOW_TO_FIX = "restore its folder from a backup, or delete the version in the registry and run the recipe again"


def write_manifest(folder: Path, whose: Mapping[str, str]) -> str:
    """Write the manifest into a folder and return its own sha256.

    Args:
        folder: a whole export.
        whose: model, artifact and fingerprint that the files belong to.
    """
    content = {"schema": SCHEMA, "of": dict(whose), "files": _digests(folder)}
    data = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    (folder / MANIFEST).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def check_manifest(folder: Path, name: str, digest: str | None = None) -> dict[str, Any]:
    """Compare every file of a folder with its manifest, and return the manifest.

    Args:
        folder: the export.
        name: of the version, for the error.
        digest: the manifest's own sha256 as the registry keeps it; None where nobody kept it.

    Raises:
        IntegrityError: the manifest is missing or not the registered one, or a file is missing, changed or new.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
        manifest: dict[str, Any] = json.loads(data)
        expected: dict[str, Any] = dict(manifest["files"])
        found = _digests(folder)
    except (OSError, ValueError, KeyError, TypeError, StoreError) as error:
        raise IntegrityError(
            f"the files of {name} in {folder} cannot be checked ({type(error).__name__}: {error}); expected plain "
            f"files and their {MANIFEST}. They are not loaded: {HOW_TO_FIX}"
        ) from error
    if digest and hashlib.sha256(data).hexdigest() != digest:
        raise IntegrityError(
            f"{MANIFEST} of {name} in {folder} is not the one that was registered (expected the sha256 {digest}); its "
            f"files are not loaded: {HOW_TO_FIX}"
        )
    if wrong := _differences(expected, found):
        raise IntegrityError(
            f"the files of {name} in {folder} are not those that were registered: {'; '.join(wrong)}; they are not "
            f"loaded: {HOW_TO_FIX}"
        )
    return manifest


def _differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "not in the manifest": sorted(found.keys() - expected.keys()),
        "changed": sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name]),
    }
    return [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]


def _digests(folder: Path) -> dict[str, Any]:
    digests = {}
    for name, path in list_files(folder).items():
        if name not in SEALS:
            with path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            digests[name] = {"sha256": sha256, "bytes": path.stat().st_size}
    return digests
