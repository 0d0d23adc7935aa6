"""What `drift` compares a run's rows with: the figures that were published with each task's champion."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.registry import Registry, Version

REFERENCE = "reference"


def collect_references(registry: Registry, models: Mapping[str, str], own: Path, folder: Path) -> str | None:
    """Copy the reference of each task's champion to `folder/<task>`; return the hash of them all, None without one.

    A champion that learned from these very rows says nothing about drift: then the version that it was judged against
    is taken, as when it was a candidate. So an unchanged recipe that runs again asks the same question.

    Args:
        registry: Registry. Holds the champions.
        models: mapping of str to str. Task -> name of its model in the registry.
        own: Path. The reference that `validate` has made of this run's rows.
        folder: Path. What was in it is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    total, found = hashlib.sha256(), False
    for task, model in models.items():
        champion = registry.champion(model)
        while champion is not None and _same(champion, own, task):
            champion = registry.version(model, champion.judged_against) if champion.judged_against else None
        if champion is None:
            continue
        found = True
        target = folder / task
        target.mkdir(parents=True)
        for path in _files(champion.bundle / REFERENCE, task):
            shutil.copy2(path, target)
            total.update(f"{task}\0{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        total.update(f"{task}\0{champion.version}\n".encode())
    return total.hexdigest() if found else None


def _same(champion: Version, own: Path, task: str) -> bool:
    theirs, ours = _files(champion.bundle / REFERENCE, task), _files(own, task)
    return bool(theirs) and [path.read_bytes() for path in theirs] == [path.read_bytes() for path in ours]


def _files(folder: Path, task: str) -> list[Path]:
    """Return the files of a task's reference; none of a champion that was published without."""
    return sorted(path for path in folder.glob(f"{task}.*") if path.is_file())
