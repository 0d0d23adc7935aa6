import json
import shutil

import numpy as np
import pytest

from pipeline.errors import CheckpointError
from pipeline.training.checkpoint import Checkpoints, Position

IDENTITY = {"step": "pretrain", "backend": "jax", "global_batch_size": 4}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path, said) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", IDENTITY, keep=2, say=said.append)


def fill(training, value: float) -> None:
    for variable in training.variables:
        variable.assign(np.full(variable.shape, value).astype(str(variable.dtype)))


def save(checkpoints: Checkpoints, training, step: int) -> None:
    """Every variable holds the step's number."""
    fill(training, step)
    position = Position(step, step / 8, (0.1, step + 0.2, 3.0))
    checkpoints.save(position, training.model, training.optimizer)


def restore(checkpoints: Checkpoints, training) -> tuple[Position, float]:
    """Return the position and the one value that every variable holds."""
    fill(training, 999)
    position = checkpoints.restore(training.model, training.optimizer)
    (value,) = {float(number) for variable in training.variables for number in np.asarray(variable.numpy()).ravel()}
    return position, value


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_everything_comes_back(checkpoints, dropout_training, said) -> None:
    assert restore(checkpoints, dropout_training) == (Position(0, 0.0), 999)
    save(checkpoints, dropout_training, 10)
    assert restore(checkpoints, dropout_training) == (Position(10, 1.25, (0.1, 10.2, 3.0)), 10)
    assert said == []


def test_the_newest_two_are_kept(checkpoints, dropout_training) -> None:
    for step in (10, 20, 30, 100):
        save(checkpoints, dropout_training, step)
    assert names(checkpoints) == ["step-00000030", "step-00000100"]
    assert restore(checkpoints, dropout_training)[0].step == 100
    checkpoints.clear()
    assert restore(checkpoints, dropout_training)[0] == Position(0, 0.0)


def cut(path) -> None:
    variables = path / "variables.npz"
    variables.write_bytes(variables.read_bytes()[:-100])


def flip(path) -> None:
    content = bytearray((path / "variables.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "variables.npz").write_bytes(content)


DAMAGE = {
    "cut": cut,
    "one bit": flip,
    "variables gone": lambda path: (path / "variables.npz").unlink(),
    "description gone": lambda path: (path / "checkpoint.json").unlink(),
    "description cut": lambda path: (path / "checkpoint.json").write_text('{"step": 20,'),
    "description empty": lambda path: (path / "checkpoint.json").write_text("null"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_one_is_passed_over_aloud(damage, checkpoints, dropout_training, said) -> None:
    save(checkpoints, dropout_training, 10)
    save(checkpoints, dropout_training, 20)
    damage(checkpoints.folder / "step-00000020")
    position, value = restore(checkpoints, dropout_training)
    assert (position.step, value) == (10, 10)
    assert said == ["checkpoint step-00000020 is damaged; trying the one before"]
    save(checkpoints, dropout_training, 15)  # the damaged one must not push sound ones out
    assert names(checkpoints) == ["step-00000010", "step-00000015"]


def test_when_all_are_damaged_training_starts_anew(checkpoints, dropout_training, said) -> None:
    save(checkpoints, dropout_training, 10)
    cut(checkpoints.folder / "step-00000010")
    assert restore(checkpoints, dropout_training) == (Position(0, 0.0), 999)
    assert len(said) == 1


def test_a_half_written_draft_is_ignored_and_written_over(checkpoints, dropout_training, said) -> None:
    save(checkpoints, dropout_training, 10)
    draft = checkpoints.folder / ".step-00000020.draft"
    shutil.copytree(checkpoints.folder / "step-00000010", draft)
    assert restore(checkpoints, dropout_training)[0].step == 10
    save(checkpoints, dropout_training, 20)
    assert names(checkpoints) == ["step-00000010", "step-00000020"]
    assert said == []


def test_a_checkpoint_of_another_training_is_refused(checkpoints, dropout_training) -> None:
    save(checkpoints, dropout_training, 10)
    other = Checkpoints(checkpoints.folder, {"step": "pretrain", "backend": "torch", "seed": 3}, 2, print)
    with pytest.raises(CheckpointError) as caught:
        restore(other, dropout_training)
    message = str(caught.value)
    assert "backend 'jax' -> 'torch', global_batch_size 4 -> None, seed None -> 3." in message
    assert "step 'pretrain'" not in message
    assert str(checkpoints.folder / "step-00000010") in message
    assert "Remove the folder to start anew" in message


def test_no_code_is_read_from_a_checkpoint(checkpoints, dropout_training) -> None:
    save(checkpoints, dropout_training, 10)
    path = checkpoints.folder / "step-00000010"
    with np.load(path / "variables.npz", allow_pickle=False) as values:
        assert len(values.files) == len(dropout_training.variables) + 1
        assert all(values[name].dtype != object for name in values.files)
    assert json.loads((path / "checkpoint.json").read_text())["identity"] == IDENTITY
