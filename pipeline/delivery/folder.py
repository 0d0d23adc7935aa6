"""A folder, here or in a bucket, that holds versions of models.

MODEL/VERSION/...        the files of a version, its manifest.json last: a version without one is not whole yet
MODEL/latest.json        which version to take; written last, in one piece
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from pipeline.delivery.target import missing
from pipeline.errors import DeliveryError
from pipeline.integrity import MANIFEST, SIGNATURE
from pipeline.registry import Version
from pipeline.store.files import list_files

LATEST = "latest.json"
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class Folder:
    """A folder or the prefix of a bucket.

    Args:
        url: file:///FOLDER, s3://BUCKET/PREFIX, or another address that fsspec can write to.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def require(self) -> None:
        """Raise RecipeError: the library of the file system is missing, or a local folder cannot be written."""
        scheme = self.url.partition("://")[0]
        try:
            _, root = self._open()
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            remedy = f"install it: pip install 'tradewind[{extra}]'" if extra else "install it"
            raise missing(self.url, f"its library is not installed ({error})", remedy) from error
        if scheme == "file":
            existing = next(folder for folder in (Path(root), *Path(root).parents) if folder.exists())
            if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
                raise missing(self.url, f"{existing} is not a folder that can be written", "correct its permissions")

    def push(self, version: Version) -> str:
        """Write the files, then their manifest, then which version is the latest; return the version's folder."""
        system, root = self._open()
        model = f"{root.rstrip('/')}/{version.name}"
        folder = f"{model}/{version.version}"
        files = {name: path for name, path in list_files(version.bundle).items() if name != MANIFEST}
        manifest = (version.bundle / MANIFEST).read_bytes()
        marker = f"{folder}/{MANIFEST}"
        if system.exists(marker):
            self._require_same(system.cat_file(marker), manifest, version)
            files = {name: path for name, path in files.items() if name == SIGNATURE}
        for name, path in files.items():
            to = f"{folder}/{name}"
            system.put_file(str(path), to)
            if (size := system.size(to)) != path.stat().st_size:
                raise DeliveryError(
                    f"{name} of {version.title} has {size} bytes in {self.url}, expected {path.stat().st_size}; it is "
                    "not named as the latest. Find out who else writes there, and run again"
                )
        _write_whole(system, marker, manifest)
        _write_whole(system, f"{model}/{LATEST}", _pointer(version, manifest))
        system.invalidate_cache()
        return str(system.unstrip_protocol(folder))

    def _open(self) -> tuple[Any, str]:
        if self.url.startswith("file://"):
            system, root = fsspec.core.url_to_fs(unquote(self.url), auto_mkdir=True)
        else:
            system, root = fsspec.core.url_to_fs(self.url)
        return system, str(root)

    def _require_same(self, found: bytes, ours: bytes, version: Version) -> None:
        if found != ours:
            raise DeliveryError(
                f"{self.url} holds other files as {version.title}, perhaps of another registry; nothing there is "
                "overwritten. Move them away, or name another folder"
            )


def _pointer(version: Version, manifest: bytes) -> bytes:
    digest = hashlib.sha256(manifest).hexdigest()
    content = {"model": version.name, "version": version.version, "folder": version.version, "manifest_sha256": digest}
    return (json.dumps(content, indent=2) + "\n").encode()


def _write_whole(system: Any, path: str, content: bytes) -> None:
    """Write a file so that readers see the old one or the whole new one; object stores do that by themselves."""
    draft = f"{path}.partial" if isinstance(system, LocalFileSystem) else path
    system.pipe_file(draft, content)
    if draft != path:
        system.mv(draft, path)
