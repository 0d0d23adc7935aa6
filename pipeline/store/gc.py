"""Garbage collection: what no run needs any more, how large it is, and its removal.

Garbage is: finished artifacts that no kept run refers to, partial folders that no process works in, and what was
discarded. Whatever was used within the last `idle_seconds` stays: a run records an artifact only after it got it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import StoreError
from pipeline.store.files import folder_bytes, told
from pipeline.store.locks import hold_if_free, is_held
from pipeline.store.runs import references
from pipeline.store.store import Store

Kind = Literal["artifact", "partial", "discarded"]


@dataclass(frozen=True)
class Garbage:
    """A folder that may go, why, and its size in bytes."""

    kind: Kind
    name: str
    path: Path
    bytes: int
    reason: str


def find_garbage(store: Store, keep_runs: int | None = None, idle_seconds: float = 3600.0) -> list[Garbage]:
    """Return what may be deleted; changes nothing.

    `keep_runs`: of each recipe, only the newest so many runs keep their artifacts; default: every run does. A run
    without an outcome keeps its artifacts in any case: it may be at work on them.
    """
    kept = kept_references(store, keep_runs)
    found = []
    with told(store.root):
        for step, fingerprint in store.artifacts():
            path = store.artifact_path(step, fingerprint)
            reference = f"{step}/{fingerprint}"
            idle = _is_idle(path, idle_seconds, deep=False)
            if reference not in kept and idle and not is_held(store.lock_path(step, fingerprint)):
                reason = "no run refers to it" if keep_runs is None else "no kept run refers to it"
                found.append(Garbage("artifact", reference, path, folder_bytes(path), reason))
        for path in sorted((store.root / "partial").glob("*/*")):
            step, fingerprint = path.parent.name, path.name
            if _is_idle(path, idle_seconds, deep=True) and not is_held(store.lock_path(step, fingerprint)):
                reason = "unfinished, and nobody works on it"
                found.append(Garbage("partial", f"{step}/{fingerprint}", path, folder_bytes(path), reason))
        found += [
            Garbage("discarded", path.name, path, folder_bytes(path), "damaged, or left by a broken-off deletion")
            for path in sorted((store.root / "discarded").glob("*"))
        ]
    return found


def delete(store: Store, garbage: list[Garbage], idle_seconds: float = 3600.0) -> list[Garbage]:
    """Delete `garbage` and return what was deleted; what came into use since it was found stays.

    Raises StoreError when another collection is at work in this store.
    """
    with told(store.root), hold_if_free(store.root / "locks" / "gc.lock") as free:
        if not free:
            raise StoreError(f"another `tradewind gc` is deleting in {store.root}; wait until it is done")
        return [item for item in garbage if _delete(store, item, idle_seconds)]


def kept_references(store: Store, keep_runs: int | None) -> set[str]:
    """Return the artifacts that the runs to keep refer to."""
    seen: Counter[str] = Counter()
    kept: set[str] = set()
    for record in store.runs.list():
        seen[record["recipe_name"]] += 1
        if keep_runs is None or seen[record["recipe_name"]] <= keep_runs or record["outcome"] == "running":
            kept |= references(record)
    return kept


def _delete(store: Store, item: Garbage, idle_seconds: float) -> bool:
    if item.kind == "discarded":
        shutil.rmtree(item.path)
        return True
    step, _, fingerprint = item.name.partition("/")
    with hold_if_free(store.lock_path(step, fingerprint)) as free:
        if not free or not _is_idle(item.path, idle_seconds, deep=item.kind == "partial"):
            return False
        # Out of the way in one step first: nobody may find an artifact half deleted, or resume in half a folder.
        doomed = store.root / "discarded" / f"{step}-{fingerprint}-{time.time_ns()}"
        doomed.parent.mkdir(parents=True, exist_ok=True)
        item.path.replace(doomed)
    shutil.rmtree(doomed)
    return True


def _is_idle(path: Path, idle_seconds: float, *, deep: bool) -> bool:
    """Tell whether nothing touched the folder lately; `deep` looks at all files in it."""
    newest = max((_modified(file) for file in (path, *(_walk(path) if deep else ()))), default=0.0)
    # At 0 the clock has no say: it may have been set back since.
    return not idle_seconds or time.time() - newest >= idle_seconds


def _walk(path: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(path):
        yield from (Path(parent, name) for name in names)


def _modified(path: Path) -> float:
    with suppress(FileNotFoundError):  # a step at work may remove its files
        return path.lstat().st_mtime
    return 0.0
