"""Files on a local disk: hashed in a stream, written in one piece, and their errors told in words."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StoreError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# A file changed this recently may change again within the same tick of the file system's clock.
SETTLED_NANOSECONDS = 2_000_000_000


class Hasher:
    """Hashes files, and remembers each hash while the file's identity, size and times stay the same.

    A file that changed less than `settled` nanoseconds ago is not remembered.
    """

    def __init__(self, settled: int = SETTLED_NANOSECONDS) -> None:
        self._settled = settled
        self._known: dict[tuple[int, ...], str] = {}

    def sha256(self, path: Path) -> str:
        """Return the sha256 of the file as 64 hexadecimal digits."""
        status = path.stat()
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key not in self._known:
            with path.open("rb") as stream:
                value = hashlib.file_digest(stream, "sha256").hexdigest()
            if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < self._settled:
                return value
            self._known[key] = value
        return self._known[key]


def list_files(folder: Path) -> dict[str, Path]:
    """Return the files below `folder` by relative path with forward slashes, sorted.

    Raises StoreError for a link or another thing that is not a plain file: its bytes would lie outside the folder.
    """
    files = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(
                f"{path} is a link or a special file; an artifact holds plain files only, so copy the content instead"
            )
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = path
    return dict(sorted(files.items()))


def write_whole(path: Path, text: str) -> None:
    """Write `text` so that readers see the old file or the whole new one, also after a power failure.

    The caller holds the lock that guards `path`.
    """
    draft = path.with_name(f"{path.name}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in `folder` durable: a rename survives a power failure only after this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below `folder`; files that vanish meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if os.path.lexists(path):
                total += path.lstat().st_size
    return total


@contextmanager
def told(root: Path) -> Iterator[None]:
    """Turn every disk error of the store's own work into a StoreError that says what is wrong and how to fix it."""
    try:
        yield
    except OSError as error:
        raise full_disk(error, root) or StoreError(
            f"the store at {root} cannot be used: {error}. It needs a folder it may read and write, on a disk with "
            "file locks; correct its permissions or name another one with TRADEWIND_WORKSPACE"
        ) from error


def full_disk(error: OSError, root: Path) -> StoreError | None:
    """Return the StoreError for a full disk, quota or file size limit; None when `error` is another one."""
    if error.errno not in FULL and "No space left on device" not in str(error):
        return None
    if error.errno == errno.EFBIG:
        return StoreError(
            f"a file in the store at {root} grew past the largest size allowed here: {error}. Raise the limit "
            "(`ulimit -f`) and run the same command again; it resumes where it stopped"
        )
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    return StoreError(
        f"no space left for the store at {root}: {error}. Its disk has {human_bytes(shutil.disk_usage(existing).free)} "
        "free; make room (`tradewind gc` lists what no run needs) and run the same command again; it resumes where it "
        "stopped"
    )


def human_bytes(count: float) -> str:
    """Return a size as a person reads it: `512 B`, `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
