"""One checkpoint: the state of a training copied from the device, written to a folder, checked, and put back.

    variables.npz, variables-00001.npz, ...   what each process has of the variables, and its random state
    checkpoint.json                           where training stood, and the hashes of those files; written last

A process writes the pieces that lie on its devices, each piece by one of them; so no process ever holds more of a
sharded state than its own part, and a checkpoint can be put back on another mesh: every process takes from the pieces
what it needs.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.errors import CheckpointError
from pipeline.store.files import Hasher, sync_folder, write_whole
from pipeline.training.pieces import assemble, pieces_of, read_index
from pipeline.training.position import Position

DESCRIPTION, RANDOM = "checkpoint.json", "random"
PATIENCE = 600.0  # seconds for the slowest process to write its part
POLL = 0.05


@dataclass(frozen=True)
class Snapshot:
    """This process's part of a state that no update changes any more.

    Attributes:
        position: Position. Where training stood.
        values: mapping of str to array. The pieces of every variable that this process writes; see `pieces_of`.
        random: (bytes,) uint8. Torch's global random state; of the other backends empty.
    """

    position: Position
    values: Mapping[str, np.ndarray]
    random: np.ndarray


def take(position: Position, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Snapshot:
    """Copy the state: on a CPU, NumPy would else look into memory that the next update writes to."""
    values: dict[str, np.ndarray] = {}
    for index, variable in enumerate(_variables(model, optimizer)):
        values |= pieces_of(index, variable.value)
    return Snapshot(position, values, _random_state())


def write_part(snapshot: Snapshot, draft: Path, process: int) -> None:
    """Write a process's part of a checkpoint into `draft`, and its hash once that is durable."""
    draft.mkdir(exist_ok=True)
    path = draft / part_name(process)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{RANDOM: snapshot.random, **snapshot.values})
    sync_folder(path)
    write_whole(_hash_of(path), Hasher().sha256(path))


def finish(snapshot: Snapshot, identity: dict[str, Any], draft: Path, final: Path, processes: int) -> None:
    """Wait for the parts of all processes, describe them, and rename `draft` to `final`, each durable before the next.

    Raises:
        CheckpointError: some process has not written its part in time.
    """
    hashes = _await_parts(draft, processes)
    description = {
        "step": snapshot.position.step,
        "position": asdict(snapshot.position),
        "identity": identity,
        "sha256": hashes,
    }
    (draft / DESCRIPTION).write_text(json.dumps(description, indent=2))
    for path in (draft / DESCRIPTION, draft):
        sync_folder(path)
    shutil.rmtree(final, ignore_errors=True)
    draft.replace(final)
    sync_folder(final.parent)


def part_name(process: int) -> str:
    """Return the name of a process's file."""
    return "variables.npz" if process == 0 else f"variables-{process:05d}.npz"


def _hash_of(part: Path) -> Path:
    return part.with_suffix(".sha256")


def _await_parts(draft: Path, processes: int) -> dict[str, str]:
    end = time.monotonic() + PATIENCE
    names = [part_name(process) for process in range(processes)]
    while missing := [name for name in names if not _hash_of(draft / name).exists()]:
        if time.monotonic() > end:
            raise CheckpointError(
                f"{', '.join(missing)} of the checkpoint {draft.name} did not come within {PATIENCE:.0f} s; is the "
                "workspace on storage that every process sees at the same path, and are they all alive?"
            )
        time.sleep(POLL)
    hashes = {name: _hash_of(draft / name).read_text() for name in names}
    for name in names:
        _hash_of(draft / name).unlink()
    return hashes


def read_sound(path: Path, process: int = 0, processes: int = 1) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself; None when a file of it is missing or not as it was written.

    Several processes divide the files among them: it is sound when none of them finds a fault.
    """
    try:
        description: dict[str, Any] = json.loads((path / DESCRIPTION).read_text())
        sound = {"position", "identity"} <= description.keys()
        for name in sorted(description["sha256"])[process::processes]:
            sound = sound and description["sha256"][name] == Hasher().sha256(path / name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return description if sound else None


def put(path: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, process: int = 0) -> None:
    """Load a sound checkpoint into model and optimizer, and the random state, on whatever mesh they lie.

    Raises:
        CheckpointError: its variables are not theirs; nothing is changed.
    """
    variables = _variables(model, optimizer)
    index = read_index(sorted(path.glob("variables*.npz")))
    if len(index) != len(variables):
        raise CheckpointError(
            f"{path} holds {len(index)} variables; this model and its optimizer have {len(variables)}. Train with the "
            "architecture, the optimizer and the precision of that checkpoint"
        )
    for number, variable in enumerate(variables):
        if index[number].shape != tuple(variable.shape):
            raise CheckpointError(
                f"{path} has the shape {index[number].shape} for {variable.path}, which is "
                f"{tuple(variable.shape)} here. Train with the architecture and the optimizer of that checkpoint"
            )
    for number, variable in enumerate(variables):
        variable.assign(assemble(index[number], variable.value))
    own = path / part_name(process)
    with np.load(own if own.exists() else path / part_name(0), allow_pickle=False) as stored:
        _set_random_state(stored[RANDOM])


def _variables(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """Return every variable, dropout seeds included."""
    return [*model.trainable_variables, *model.non_trainable_variables, *optimizer.variables]


def _random_state() -> np.ndarray:
    """Return torch's global random state, which its dropout draws from; the other backends have none."""
    if keras.backend.backend() != "torch":
        return np.zeros(0, np.uint8)
    import torch

    state: np.ndarray = torch.get_rng_state().numpy()
    return np.array(state)


def _set_random_state(state: np.ndarray) -> None:
    if keras.backend.backend() == "torch" and state.size:
        import torch

        torch.set_rng_state(torch.from_numpy(state))
