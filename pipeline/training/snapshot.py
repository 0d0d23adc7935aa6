"""One checkpoint: the state of a training copied from the device, written to a folder, checked, and put back."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.errors import CheckpointError
from pipeline.store.files import Hasher, sync_folder
from pipeline.training.position import Position

VARIABLES, DESCRIPTION = "variables.npz", "checkpoint.json"


@dataclass(frozen=True)
class Snapshot:
    """A state that no update changes any more.

    Attributes:
        position: Position. Where training stood.
        values: list of arrays. Every variable, in the order that only the architecture decides.
        random: (bytes,) uint8. Torch's global random state; of the other backends empty.
    """

    position: Position
    values: list[np.ndarray]
    random: np.ndarray


def take(position: Position, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Snapshot:
    """Copy the state: on a CPU, NumPy would else look into memory that the next update writes to."""
    values = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in _variables(model, optimizer)]
    return Snapshot(position, values, _random_state())


def write(snapshot: Snapshot, identity: dict[str, Any], draft: Path, final: Path) -> None:
    """Write a snapshot into `draft` and rename that to `final`, each durable before the next."""
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    named = {_name(index): value for index, value in enumerate(snapshot.values)}
    with (draft / VARIABLES).open("wb") as file:
        np.savez(file, allow_pickle=False, random=snapshot.random, **named)
    description = {
        "step": snapshot.position.step,
        "position": asdict(snapshot.position),
        "identity": identity,
        "sha256": Hasher().sha256(draft / VARIABLES),
    }
    (draft / DESCRIPTION).write_text(json.dumps(description, indent=2))
    for path in (*draft.iterdir(), draft):
        sync_folder(path)
    shutil.rmtree(final, ignore_errors=True)
    draft.replace(final)
    sync_folder(final.parent)


def read_sound(path: Path) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself; None when a file of it is missing or not as it was written."""
    try:
        description: dict[str, Any] = json.loads((path / DESCRIPTION).read_text())
        sound = {"position", "identity"} <= description.keys()
        sound = sound and description["sha256"] == Hasher().sha256(path / VARIABLES)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return description if sound else None


def put(path: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Load a sound checkpoint into model and optimizer, and the random state.

    Raises:
        CheckpointError: its variables are not theirs; nothing is changed.
    """
    variables = _variables(model, optimizer)
    with np.load(path / VARIABLES, allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files}
    random = found.pop("random")
    if len(found) != len(variables):
        raise CheckpointError(
            f"{path} holds {len(found)} variables; this model and its optimizer have {len(variables)}. Train with the "
            "architecture, the optimizer and the precision of that checkpoint"
        )
    for index, variable in enumerate(variables):
        if found[_name(index)].shape != tuple(variable.shape):
            raise CheckpointError(
                f"{path} has the shape {found[_name(index)].shape} for {variable.path}, which is "
                f"{tuple(variable.shape)} here. Train with the architecture and the optimizer of that checkpoint"
            )
    for index, variable in enumerate(variables):
        variable.assign(found[_name(index)])
    _set_random_state(random)


def _name(index: int) -> str:
    return f"{index:05d}"


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
