"""Checkpoints that are all or nothing: every variable, the random state and the step, checksummed, renamed into place.

Keras's own files leave out seed generators, and a killed write leaves half a file; so the variables are kept here by
position, as plain NumPy arrays without pickle. Training waits for the copy from the device only: hashing, writing and
syncing are a background thread's work, one checkpoint at a time, whose error is raised at the next call.
"""

from __future__ import annotations

import json
import math
import secrets
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from pipeline.errors import CheckpointError
from pipeline.store.files import FULL, full_disk, write_whole
from pipeline.training.position import Figures, Position
from pipeline.training.processes import from_first, largest, num_processes, process_id
from pipeline.training.snapshot import DESCRIPTION, Snapshot, finish, put, read_sound, take, write_part

BEST = "best.json"


@dataclass(frozen=True)
class Best:
    """The checkpoint with the lowest value so far."""

    step: int
    value: float


class Checkpoints:
    """The checkpoints of one training run, in one folder: the newest few, the best, and the stable one.

    Args:
        folder: Path. Holds `step-00000100/` and so on.
        identity: dict. What must be equal for a checkpoint to fit: architecture, batches, seed, backend.
        keep: int. How many of the newest to keep.
        say: callable. Told about a damaged checkpoint that is passed over.
        stable_step: int or None. Where warmup_stable_decay begins to decay: that checkpoint is kept to the end, so that
            another, longer training can start from it.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        keep: int,
        say: Callable[[str], None],
        stable_step: int | None = None,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.keep = keep
        self.say = say
        self.stable_step = stable_step
        self.process, self.processes = process_id(), num_processes()
        self._attempt = self._begin()
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(self, position: Position, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        """Copy the state and have it written while training goes on.

        Raises:
            StoreError: the disk was full when the checkpoint before was written; older ones are untouched.
            CheckpointError: it could not be written for another reason.
        """
        self.submit(take(position, model, optimizer))

    def submit(self, snapshot: Snapshot) -> None:
        """Have a copied state written, after the one being written; raises as `save` does."""
        with self._lock:
            self._finish()
            self._writing = self._writer.submit(self._write, snapshot)

    def wait(self) -> None:
        """Return when everything saved is on the disk; raises as `save` does."""
        with self._lock:
            self._finish()

    def restore(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, before: int | None = None) -> Position:
        """Load the newest sound checkpoint into model and optimizer; without one, change nothing, return step 0.

        Args:
            model: keras.Model. Built.
            optimizer: keras.optimizers.Optimizer. Built for the model.
            before: int or None. Pass over checkpoints of this step and later ones.

        Raises:
            CheckpointError: the newest checkpoint belongs to another architecture or recipe.
        """
        self.wait()
        while (step := self._newest(before)) is not None:
            before, path = step, self.path(step)
            description = read_sound(path, self.process, self.processes)
            if largest([description is None])[0]:
                self.say(f"checkpoint {path.name} is damaged; trying the one before")
                continue
            assert description is not None
            self._check_identity(path, description["identity"])
            put(path, model, optimizer, self.process)
            return _position(description)
        return Position()

    @staticmethod
    def load(folder: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Position:
        """Load one checkpoint as the start of another training, and return where that starts.

        Weights, optimizer, step and random state go on; the chronometer and the losses of that training do not.

        Args:
            folder: Path. A checkpoint, such as the `stable/` of a pretraining artifact.
            model: keras.Model. Built, with the architecture of the checkpoint.
            optimizer: keras.optimizers.Optimizer. Built for the model, of the same kind.

        Raises:
            CheckpointError: it is damaged or missing, or its variables are not the model's and the optimizer's.
        """
        description = read_sound(folder)
        if description is None:
            raise CheckpointError(
                f"{folder} is no whole checkpoint: expected {DESCRIPTION} and the variables it describes. Run the "
                "training that made it again, or start without it"
            )
        put(folder, model, optimizer)
        position = _position(description)
        return Position(position.step, skipped=position.skipped)

    def rewind(self, position: Position) -> None:
        """Make `position`, which stands where a checkpoint does, what that one says; drop the later ones."""
        self.wait()
        if self.process:
            return
        self._drop([path for path in self._all() if _step(path) > position.step])
        file = self.path(position.step) / DESCRIPTION
        write_whole(file, json.dumps(json.loads(file.read_text()) | {"position": asdict(position)}, indent=2))

    def mark_best(self, step: int, value: float) -> None:
        """Keep the checkpoint of `step` from now on if `value` is the lowest so far."""
        self.wait()
        best = self.best()
        if self.process == 0 and (best is None or value < best.value) and self.path(step).exists():
            write_whole(self.folder / BEST, json.dumps(asdict(Best(step, value))))

    def best(self) -> Best | None:
        """Return the checkpoint with the lowest value that still stands; None when none was marked."""
        try:
            best = Best(**json.loads((self.folder / BEST).read_text()))
        except (FileNotFoundError, ValueError, TypeError):  # not marked yet, or damaged: the next one is marked again
            return None
        return best if self.path(best.step).exists() else None

    def stable(self) -> Path | None:
        """Return the folder of the stable checkpoint; None when training has not been there."""
        self.wait()
        path = None if self.stable_step is None else self.path(self.stable_step)
        return path if path and path.exists() else None

    def clear(self) -> None:
        """Remove every checkpoint, once the finished artifact stands."""
        self.wait()
        if self.process == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, snapshot: Snapshot) -> None:
        final = self.path(snapshot.position.step)
        draft = self.folder / f".{final.name}.{self._attempt}.draft"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_part(snapshot, draft, self.process)
            if self.process:
                return
            finish(snapshot, self.identity, draft, final, self.processes)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        paths = self._all()
        later = [path for path in paths if path.name > final.name]  # damaged, or training would stand there
        self._drop([*later, *[path for path in paths if path not in later][: -self.keep]])

    def _begin(self) -> str:
        """Remove what a killed attempt left half-written; return a name for the drafts of this one, same for all."""
        if self.process == 0:
            for draft in self.folder.glob(".step-*.draft"):
                shutil.rmtree(draft)
        return f"{int(from_first([secrets.randbits(32)])[0]):08x}"

    def _newest(self, before: int | None) -> int | None:
        """Return the newest checkpoint's step, before `before` if given, as process 0 sees them; None without one."""
        steps = [step for path in self._all() if (step := _step(path)) < (math.inf if before is None else before)]
        found = int(from_first([max(steps, default=-1)])[0])
        return None if found < 0 else found

    def _drop(self, paths: list[Path]) -> None:
        """Remove checkpoints, later ones than the present step first; best and stable stay unless they are those."""
        best = self.best()
        precious = {self.stable_step, best.step if best else None}
        newest = max((_step(path) for path in self._all() if path not in paths), default=-1)
        for path in paths:
            if _step(path) > newest or _step(path) not in precious:
                shutil.rmtree(path)

    def _finish(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except OSError as error:
            if error.errno in FULL:
                raise full_disk(error, self.folder) or error from error
            raise CheckpointError(
                f"a checkpoint could not be written to {self.folder}: {error}; the older ones are untouched. Correct "
                "it and run the same command again; it goes on from the newest of them"
            ) from error

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint of a step."""
        return self.folder / f"step-{step:08d}"

    def _check_identity(self, path: Path, found: dict[str, Any]) -> None:
        keys = sorted(key for key in found.keys() | self.identity.keys() if found.get(key) != self.identity.get(key))
        if keys:
            differences = ", ".join(f"{key} {found.get(key)!r} -> {self.identity.get(key)!r}" for key in keys)
            raise CheckpointError(
                f"{path} was written by another training: {differences}. Remove the folder to start anew, or restore "
                "the recipe it came from"
            )


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _position(description: dict[str, Any]) -> Position:
    """Return the position as it was, tuples for JSON's lists."""
    values = dict(description["position"])
    values["window"] = tuple(Figures(*figures) for figures in values["window"])
    values["history"] = tuple(values["history"])
    values["skipped"] = tuple((first, end) for first, end in values["skipped"])
    return Position(**values)
