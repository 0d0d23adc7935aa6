"""The store runs a step once per fingerprint: a finished artifact is returned, an unfinished one is resumed.

<root>/partial/<step>/<fingerprint>/     where a step works; survives its death
<root>/artifacts/<step>/<fingerprint>/   finished, never changed again; manifest.json says what it must be
<root>/discarded/                        damaged artifacts, kept for inspection until `tradewind gc --delete`
<root>/runs/, <root>/locks/
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.store import manifest as manifests
from pipeline.store.files import Hasher, full_disk, sync_folder, told, write_whole
from pipeline.store.fingerprint import Factors
from pipeline.store.locks import hold
from pipeline.store.manifest import Attempt, DamageError, Manifest
from pipeline.store.runs import Runs

STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # pathlib folds the two slashes of an address into one

Say = Callable[[str], None]


def silent(text: str) -> None:
    """Drop what the store has to say."""


@dataclass(frozen=True)
class Artifact:
    """A finished artifact. `hit`: it was there already; `seconds`: how long it took to make, now or then."""

    step: str
    fingerprint: str
    path: Path
    content: str
    result: dict[str, Any]
    hit: bool
    seconds: float = 0.0

    @property
    def reference(self) -> str:
        """The name that runs, logs and XCom carry: `step/fingerprint`."""
        return f"{self.step}/{self.fingerprint}"


class Store:
    """Artifacts and runs in a local folder, shared by any number of processes.

    Raises StoreError when `root` is a remote address; nothing is created before the first artifact or run.
    """

    def __init__(self, root: str | Path) -> None:
        if REMOTE.match(str(root)):
            raise StoreError(
                f"the store cannot be at {root}: this version keeps artifacts in local folders only. Name a local "
                "folder with TRADEWIND_WORKSPACE"
            )
        self.root = Path(root).absolute()
        self.runs = Runs(self.root)
        self._hasher = Hasher()

    def run(
        self,
        step: str,
        fingerprint_parts: Factors,
        work: Callable[[Path], dict[str, Any]],
        say: Say = silent,
        again: bool = False,
    ) -> Artifact:
        """Return the artifact of these factors; if there is none, let `work` make it. `again` makes it anew always.

        `work` gets the folder to write into, which holds what a killed or failed earlier attempt left, and returns a
        JSON-able result. While another process is at work on the same artifact this one waits, and takes over when
        that one is dead. What `work` raises passes through, and its folder stays. `say` hears whatever is out of the
        ordinary. Raises StoreError for a full disk, an unusable root, or a result that is not plain JSON.
        """
        if fingerprint_parts.step != step or not STEP.fullmatch(step):
            raise ValueError(f"step {step!r} with the factors of step {fingerprint_parts.step!r}: not one step name")
        fingerprint = fingerprint_parts.fingerprint()
        found = self._look(step, fingerprint)
        if isinstance(found, Artifact) and not again:
            return found
        with ExitStack() as held:
            with told(self.root):
                held.enter_context(hold(self.lock_path(step, fingerprint), f"{step}/{fingerprint[:12]}", say))
                if isinstance(found, Artifact):
                    self._set_aside(step, fingerprint)
            return self._run_locked(fingerprint_parts, fingerprint, work, say)

    def finished(self, factors: Factors) -> Artifact | None:
        """Return the sound artifact of these factors, None when there is none."""
        found = self._look(factors.step, factors.fingerprint())
        return found if isinstance(found, Artifact) else None

    def get(self, reference: str) -> Artifact:
        """Return the artifact `step/fingerprint`, whose fingerprint may be cut short.

        Raises StoreError when there is none, when several begin so, or when it is damaged.
        """
        step, fingerprint = self.find(reference)
        found = self._look(step, fingerprint)
        if isinstance(found, Artifact):
            return found
        raise StoreError(
            f"the artifact {step}/{fingerprint[:12]} is damaged: {found}. Run its recipe again; the step will be "
            "computed anew"
        )

    def find(self, reference: str) -> tuple[str, str]:
        """Return step and full fingerprint of `step/prefix`. Raises StoreError when there is not exactly one."""
        step, _, prefix = reference.partition("/")
        matches = [fingerprint for name, fingerprint in self.artifacts() if name == step and prefix]
        matches = [fingerprint for fingerprint in matches if fingerprint.startswith(prefix)]
        if len(matches) == 1:
            return step, matches[0]
        if matches:
            raise StoreError(f"{reference} fits {len(matches)} artifacts of {step}; give more of the fingerprint")
        steps = ", ".join(sorted({name for name, _ in self.artifacts()})) or "nothing yet"
        raise StoreError(
            f"no artifact {reference!r} in {self.root}; a reference is step/fingerprint, and there are artifacts of: "
            f"{steps}"
        )

    def artifacts(self) -> Iterator[tuple[str, str]]:
        """Yield step and fingerprint of every finished artifact, sorted."""
        for path in sorted((self.root / "artifacts").glob("*/*")):
            yield path.parent.name, path.name

    def manifest(self, reference: str) -> Manifest:
        """Return the manifest of `step/prefix`, unchecked against the files. Raises StoreError when unreadable."""
        step, fingerprint = self.find(reference)
        try:
            return manifests.read(self.artifact_path(step, fingerprint))
        except DamageError as error:
            raise StoreError(f"the artifact {step}/{fingerprint[:12]} is damaged: {error}") from error

    def artifact_path(self, step: str, fingerprint: str) -> Path:
        """Return the folder of a finished artifact."""
        return self.root / "artifacts" / step / fingerprint

    def lock_path(self, step: str, fingerprint: str) -> Path:
        """Return the lock that whoever makes or deletes the artifact holds."""
        return self.root / "locks" / step / f"{fingerprint}.lock"

    def _look(self, step: str, fingerprint: str) -> Artifact | str | None:
        """Return the artifact; or how it is damaged; or None when there is none."""
        path = self.artifact_path(step, fingerprint)
        with told(self.root):
            if not path.exists():
                return None
            # Marks the artifact as in use, which garbage collection respects; other people's it may only read.
            with suppress(PermissionError):
                os.utime(path)
            manifest = self._checked(path, step, fingerprint)
        return manifest if isinstance(manifest, str) else self._artifact(manifest, hit=True)

    def _checked(self, path: Path, step: str, fingerprint: str) -> Manifest | str:
        """Return the manifest in `path` if all files are as it says, else the first difference."""
        try:
            manifest = manifests.read(path)
            if (manifest.step, manifest.fingerprint) != (step, fingerprint):
                return f"its manifest is that of {manifest.step}/{manifest.fingerprint[:12]}"
            manifests.check(path, manifest, self._hasher)
        except DamageError as error:
            return str(error)
        except FileNotFoundError as error:  # it is being deleted under our eyes
            return f"{error.filename} vanished"
        return manifest

    def _artifact(self, manifest: Manifest, *, hit: bool) -> Artifact:
        path = self.artifact_path(manifest.step, manifest.fingerprint)
        return Artifact(
            manifest.step, manifest.fingerprint, path, manifest.content, manifest.result, hit, manifest.seconds
        )

    def _run_locked(
        self, factors: Factors, fingerprint: str, work: Callable[[Path], dict[str, Any]], say: Say
    ) -> Artifact:
        found = self._look(factors.step, fingerprint)  # whoever held the lock may have finished it
        if isinstance(found, Artifact):
            return found
        partial = self.root / "partial" / factors.step / fingerprint
        with told(self.root):
            self._explain_miss(factors.step, fingerprint, found, say)
            partial.mkdir(parents=True, exist_ok=True)
            # Complete when the owner died between its last write and the rename; else it has no sound manifest.
            manifest = self._checked(partial, factors.step, fingerprint)
        if isinstance(manifest, str):
            manifest = self._work(factors, partial, work, say)
        target = self.artifact_path(factors.step, fingerprint)
        with told(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
            sync_folder(target.parent)
        return self._artifact(manifest, hit=False)

    def _work(self, factors: Factors, partial: Path, work: Callable[[Path], dict[str, Any]], say: Say) -> Manifest:
        with told(self.root):
            for leftover in (manifests.NAME, manifests.DRAFT):
                (partial / leftover).unlink(missing_ok=True)
            resumed = any(partial.iterdir())
        if resumed:
            say(f"resuming in what an earlier attempt left in {partial}")
        started = datetime.now(UTC).isoformat(timespec="seconds")
        clock = time.monotonic()
        try:
            result = work(partial)
        except OSError as error:
            if explained := full_disk(error, self.root):
                raise explained from error
            raise
        attempt = Attempt(started, round(time.monotonic() - clock, 3), resumed)
        with told(self.root):
            manifest = manifests.describe(partial, factors, _plain(result, factors.step), attempt, self._hasher)
            write_whole(partial / manifests.NAME, manifest.text())
        return manifest

    def _explain_miss(self, step: str, fingerprint: str, damage: str | None, say: Say) -> None:
        """Say so when an artifact that should be there is not; set a damaged one aside."""
        subject = f"{step}/{fingerprint[:12]}"
        if damage is not None:
            say(f"the artifact {subject} is damaged: {damage}; it is set aside and computed again")
            self._set_aside(step, fingerprint)
        elif runs := self.runs.that_finished(f"{step}/{fingerprint}"):
            say(f"the artifact {subject}, made for run {runs[0]}, is gone; it is computed again")

    def _set_aside(self, step: str, fingerprint: str) -> None:
        folder = self.root / "discarded"
        folder.mkdir(parents=True, exist_ok=True)
        self.artifact_path(step, fingerprint).replace(folder / f"{step}-{fingerprint}-{time.time_ns()}")


def _plain(result: dict[str, Any], step: str) -> dict[str, Any]:
    try:
        plain = json.loads(json.dumps(result, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the result of step {step} is not plain JSON ({error}); it must be a dict of strings, finite numbers, "
            "booleans, None, lists and dicts. Write data to files instead"
        ) from error
    if not isinstance(plain, dict):
        raise StoreError(f"the result of step {step} is a {type(result).__name__}; it must be a dict")
    return plain
