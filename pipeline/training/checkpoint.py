"""Checkpoints that are all or nothing: every variable, the random state and the step, checksummed, renamed into place.

Keras's own files leave out seed generators, and a killed write leaves half a file; so the variables are kept here by
position, as plain NumPy arrays without pickle.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.errors import CheckpointError
from pipeline.store.files import Hasher, sync_folder


@dataclass(frozen=True)
class Position:
    """Where training stands.

    Attributes:
        step: int. Updates done.
        seconds: float. In updates so far, compilation left out.
        sums: three floats. Loss, weight and correct answers since the last report.
    """

    step: int
    seconds: float
    sums: tuple[float, ...] = (0.0, 0.0, 0.0)


class Checkpoints:
    """The newest few checkpoints of one training run, in one folder.

    Args:
        folder: Path. Holds `step-00000100/` and so on.
        identity: dict. What must be equal for a checkpoint to fit: architecture, batches, seed, backend.
        keep: int. How many to keep.
        say: callable. Told about a damaged checkpoint that is passed over.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], keep: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.identity = identity
        self.keep = keep
        self.say = say

    def save(self, position: Position, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        """Write a checkpoint and drop the oldest beyond `keep`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"step-{position.step:08d}"
        draft = self.folder / f".{final.name}.draft"
        for leftover in (draft, final):
            shutil.rmtree(leftover, ignore_errors=True)
        draft.mkdir()
        values = {f"{i:05d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_variables(model, optimizer))}
        with (draft / "variables.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, random=_random_state(), **values)
        meta = {
            "step": position.step,
            "seconds": position.seconds,
            "sums": position.sums,
            "identity": self.identity,
            "sha256": Hasher().sha256(draft / "variables.npz"),
        }
        (draft / "checkpoint.json").write_text(json.dumps(meta, indent=2))
        for path in (*draft.iterdir(), draft):
            sync_folder(path)
        draft.replace(final)
        sync_folder(self.folder)
        later = [path for path in self._all() if path.name > final.name]  # damaged, or training would stand there
        for stale in (*later, *[path for path in self._all() if path not in later][: -self.keep]):
            shutil.rmtree(stale)

    def restore(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Position:
        """Load the newest sound checkpoint into model and optimizer; without one, return the start.

        Raises:
            CheckpointError: the newest checkpoint belongs to another architecture or recipe.
        """
        for path in reversed(self._all()):
            meta = _read_sound(path)
            if meta is None:
                self.say(f"checkpoint {path.name} is damaged; trying the one before")
                continue
            self._check_identity(path, meta["identity"])
            with np.load(path / "variables.npz", allow_pickle=False) as values:
                for index, variable in enumerate(_variables(model, optimizer)):
                    variable.assign(values[f"{index:05d}"])
                _set_random_state(values["random"])
            return Position(meta["step"], meta["seconds"], tuple(meta["sums"]))
        return Position(0, 0.0)

    def clear(self) -> None:
        """Remove every checkpoint, once the finished artifact stands."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))

    def _check_identity(self, path: Path, found: dict[str, Any]) -> None:
        keys = sorted(key for key in found.keys() | self.identity.keys() if found.get(key) != self.identity.get(key))
        if keys:
            differences = ", ".join(f"{key} {found.get(key)!r} -> {self.identity.get(key)!r}" for key in keys)
            raise CheckpointError(
                f"{path} was written by another training: {differences}. Remove the folder to start anew, or restore "
                "the recipe it came from"
            )


def _read_sound(path: Path) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself; None when a file of it is missing or not as it was written."""
    try:
        meta: dict[str, Any] = json.loads((path / "checkpoint.json").read_text())
        sound = meta["sha256"] == Hasher().sha256(path / "variables.npz")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return meta if sound else None


def _variables(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """Return every variable, dropout seeds included, in an order that only the architecture decides."""
    return [*model.trainable_variables, *model.non_trainable_variables, *optimizer.variables]


def _random_state() -> np.ndarray:
    """Return torch's global random state, which its dropout draws from; the other backends have none."""
    if keras.backend.backend() != "torch":
        return np.zeros(0, np.uint8)
    import torch

    state: np.ndarray = torch.get_rng_state().numpy()
    return state


def _set_random_state(state: np.ndarray) -> None:
    if keras.backend.backend() == "torch":
        import torch

        torch.set_rng_state(torch.from_numpy(state))
