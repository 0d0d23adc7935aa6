"""Locks between processes that share one store.

They are `flock` locks of the operating system, through filelock: when the owner dies, however it dies, the system
releases its lock and a waiter gets it. A lock file that only exists or does not (a soft lock) would outlive its owner,
so a file system without `flock` is an error here.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

POLL_SECONDS = 0.1


@contextmanager
def hold(path: Path, subject: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path` inside the block; while another process holds it, say once who, and wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"waiting for {_owner(path)}, which is at work on {subject}")
        lock.acquire(poll_interval=POLL_SECONDS)
    note = _note(path)
    try:
        note.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


@contextmanager
def hold_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock at `path` inside the block if nobody else does; yields whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Tell whether a living process holds the lock at `path`."""
    if not path.exists():
        return False
    with hold_if_free(path) as free:
        return not free


def _owner(path: Path) -> str:
    try:
        note = json.loads(_note(path).read_text())
        return f"process {note['pid']} on {note['host']} (there since {note['since']} UTC)"
    except (FileNotFoundError, ValueError):  # the owner has not written its note yet, or has just removed it
        return "another process"


def _note(path: Path) -> Path:
    return path.with_suffix(".owner")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
