"""One file of a source, on whatever file system: opened so that its failures name it, and watched while it is read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fsspec  # type: ignore[import-untyped]

from pipeline.data.sources.secrets import Secrets
from pipeline.errors import SourceError

BUFFER = 2**20
NOT_FOUND = 404
# What file systems tell of a file that changes with it.
SIGNS = ("size", "mtime", "ino", "last_modified", "lastmodified", "last-modified", "updated", "version_id")
# Those that stand for the content: no two contents of one file share them.
CHECKSUMS = ("etag", "md5hash", "content_md5", "content-md5", "blob_id", "sha256")


@dataclass(frozen=True)
class File:
    """One file of a source: `name` below the folder that all its files share, `address` as people write it.

    `beside` has the files aligned with it, by the column that their lines become.
    """

    source: str
    name: str
    address: str
    path: str
    system: fsspec.AbstractFileSystem
    secrets: Secrets
    split: str | None = None
    beside: dict[str, File] = field(default_factory=dict)

    def open(self) -> io.BufferedReader:
        """Open the file for reading bytes."""
        with self._named():
            return io.BufferedReader(_Stream(self, self.system.open(self.path, "rb")), BUFFER)

    def size(self) -> int | None:
        """Return the bytes of the file, where the file system knows."""
        size = self._info().get("size")
        return None if size is None else int(size)

    def checksum(self) -> str | None:
        """Return what the file system says that stands for the content, if anything."""
        info = self._info()
        found = {key: str(info[key]) for key in CHECKSUMS if info.get(key)}
        return next((f"{key} {value}" for key, value in found.items() if not value.startswith("W/")), None)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise SourceError after the block, or in the place of its SourceError, if the file changed meanwhile."""
        before = self._signs()
        try:
            yield
        except SourceError:
            self._require_unchanged(before)
            raise
        self._require_unchanged(before)

    def _require_unchanged(self, before: dict[str, Any]) -> None:
        self.system.invalidate_cache()
        after = self._signs()
        if changed := [key for key in before if before[key] != after.get(key)]:
            raise SourceError(
                f"data.sources.{self.source}: {self.address} changed while it was read "
                f"({', '.join(f'{key} {before[key]} -> {after.get(key)}' for key in changed)}); "
                "expected a file that stays as it is: run again when it is written"
            )

    def _signs(self) -> dict[str, Any]:
        info = self._info()
        return {key: info[key] for key in (*SIGNS, *CHECKSUMS) if key in info}

    def _info(self) -> dict[str, Any]:
        with self._named():
            return {key.lower(): value for key, value in self.system.info(self.path).items()}

    @contextmanager
    def _named(self) -> Iterator[None]:
        where = f"data.sources.{self.source}: {self.address}"
        try:
            yield
        # The libraries of file systems raise whatever they like, and show their options.
        except Exception as error:
            if is_missing(error):
                message = f"{where} is gone since the run began to read the source; put it back, and run again"
            else:
                message = f"{where} cannot be read: {self.secrets.hide(root_of(error))}"
            raise SourceError(message) from None


class _Stream(io.RawIOBase):
    """A file of any file system whose failures name it."""

    def __init__(self, file: File, inner: Any) -> None:
        self.file = file
        self.inner = inner

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self.inner.seekable())

    def readinto(self, buffer: Any) -> int:
        with self.file._named():
            data = self.inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self.file._named():
            return int(self.inner.seek(offset, whence))

    def tell(self) -> int:
        return int(self.inner.tell())

    def close(self) -> None:
        self.inner.close()
        super().close()


def root_of(error: BaseException) -> BaseException:
    """Return what made the error: some file systems call every failure a missing file."""
    return root_of(error.__cause__) if error.__cause__ else error


def is_missing(error: BaseException) -> bool:
    """Return whether an error says that there is no such file."""
    root = root_of(error)
    return "NotFound" in type(root).__name__ or getattr(root, "status", None) == NOT_FOUND
