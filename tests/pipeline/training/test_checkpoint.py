import json
import shutil
import threading

import numpy as np
import pytest

from pipeline.errors import CheckpointError, StoreError
from pipeline.training import snapshot
from pipeline.training.checkpoint import Best, Checkpoints
from pipeline.training.position import Figures, Position

IDENTITY = {"step": "pretrain", "backend": "jax", "global_batch_size": 4}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path, said) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", IDENTITY, keep=2, say=said.append, stable_step=20)


def fill(training, value: float) -> None:
    for variable in training.variables:
        variable.assign(np.full(variable.shape, value).astype(str(variable.dtype)))


def position_at(step: int) -> Position:
    window = (Figures(step + 0.1, 3.0, 1.0, 0.7, 9.0), Figures(step + 0.2, 2.0, 0.0, float("inf"), 9.0))
    return Position(step, step / 8, 7 * step, 0.1, None, window, (2.5, 1 / 3), ((5, 9), (12, 14)), 1, 40)


def save(checkpoints: Checkpoints, training, step: int) -> None:
    """Every variable holds the step's number."""
    fill(training, step)
    checkpoints.save(position_at(step), training.model, training.optimizer)


def value_of(training) -> float:
    """Return the one value that every variable holds."""
    (value,) = {float(number) for variable in training.variables for number in np.asarray(variable.numpy()).ravel()}
    return value


def restore(checkpoints: Checkpoints, training, before: int | None = None) -> tuple[Position, float]:
    fill(training, 999)
    position = checkpoints.restore(training.model, training.optimizer, before)
    return position, value_of(training)


def names(checkpoints: Checkpoints) -> list[str]:
    checkpoints.wait()
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_everything_comes_back(checkpoints, dropout_training, said) -> None:
    assert restore(checkpoints, dropout_training) == (Position(), 999)
    save(checkpoints, dropout_training, 10)
    assert restore(checkpoints, dropout_training) == (position_at(10), 10)
    assert said == []


def test_what_is_saved_is_the_state_of_the_call_whatever_trains_on_meanwhile(
    checkpoints, dropout_training, monkeypatch
) -> None:
    go, write = threading.Event(), snapshot.write_part

    def late(*arguments) -> None:
        assert go.wait(60)
        write(*arguments)

    monkeypatch.setattr("pipeline.training.checkpoint.write_part", late)
    save(checkpoints, dropout_training, 10)
    fill(dropout_training, 11)
    go.set()
    assert restore(checkpoints, dropout_training)[1] == 10


def test_the_newest_two_the_best_and_the_stable_one_are_kept(checkpoints, dropout_training) -> None:
    for step, value in ((10, 3.0), (20, 2.0), (30, 1.0), (40, 1.5), (50, None), (60, None)):
        save(checkpoints, dropout_training, step)
        if value:
            checkpoints.mark_best(step, value)
    assert names(checkpoints) == ["best.json", *(f"step-000000{step}" for step in (20, 30, 50, 60))]
    assert checkpoints.best() == Best(30, 1.0)
    assert checkpoints.stable() == checkpoints.folder / "step-00000020"
    assert restore(checkpoints, dropout_training)[0].step == 60
    checkpoints.clear()
    assert restore(checkpoints, dropout_training)[0] == Position()
    assert checkpoints.best() is None
    assert checkpoints.stable() is None


def test_going_back_drops_what_came_after_and_is_remembered(checkpoints, dropout_training) -> None:
    for step in (10, 20, 30):
        save(checkpoints, dropout_training, step)
    checkpoints.mark_best(20, 1.0)
    assert restore(checkpoints, dropout_training, before=20) == (Position(), 999)
    position, value = restore(checkpoints, dropout_training, before=21)
    assert (position.step, value) == (20, 20)
    earlier = position_at(50).rolled_back_to(position)
    checkpoints.rewind(earlier)
    assert names(checkpoints) == ["best.json", "step-00000020"]
    assert restore(checkpoints, dropout_training) == (earlier, 20)
    assert (earlier.rollbacks, earlier.trouble, earlier.seconds) == (2, 50, 50 / 8)


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
    "description of another kind": lambda path: (path / "checkpoint.json").write_text('{"sha256": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_one_is_passed_over_aloud(damage, checkpoints, dropout_training, said) -> None:
    save(checkpoints, dropout_training, 10)
    save(checkpoints, dropout_training, 20)
    checkpoints.wait()
    damage(checkpoints.folder / "step-00000020")
    position, value = restore(checkpoints, dropout_training)
    assert (position.step, value) == (10, 10)
    assert said == ["checkpoint step-00000020 is damaged; trying the one before"]
    save(checkpoints, dropout_training, 15)  # the damaged one must not push sound ones out
    assert names(checkpoints) == ["step-00000010", "step-00000015"]


def test_when_all_are_damaged_training_starts_anew(checkpoints, dropout_training, said) -> None:
    save(checkpoints, dropout_training, 10)
    checkpoints.wait()
    cut(checkpoints.folder / "step-00000010")
    assert restore(checkpoints, dropout_training) == (Position(), 999)
    assert len(said) == 1


def test_a_half_written_draft_is_ignored_and_written_over(checkpoints, dropout_training, said) -> None:
    save(checkpoints, dropout_training, 10)
    checkpoints.wait()
    draft = checkpoints.folder / ".step-00000020.draft"
    shutil.copytree(checkpoints.folder / "step-00000010", draft)
    assert restore(checkpoints, dropout_training)[0].step == 10
    save(checkpoints, dropout_training, 20)
    checkpoints.wait()
    again = Checkpoints(checkpoints.folder, checkpoints.identity, 2, said.append)
    assert names(again) == ["step-00000010", "step-00000020"]
    assert said == []


def test_a_checkpoint_of_another_training_is_refused(checkpoints, dropout_training) -> None:
    save(checkpoints, dropout_training, 10)
    checkpoints.wait()
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
    checkpoints.wait()
    path = checkpoints.folder / "step-00000010"
    with np.load(path / "variables.npz", allow_pickle=False) as values:
        assert len(values.files) == len(dropout_training.variables) + 1
        assert all(values[name].dtype != object for name in values.files)
    assert json.loads((path / "checkpoint.json").read_text())["identity"] == IDENTITY


def test_the_stable_one_starts_another_training(checkpoints, dropout_training, tmp_path) -> None:
    save(checkpoints, dropout_training, 20)
    stable = shutil.copytree(checkpoints.stable(), tmp_path / "stable")
    checkpoints.clear()
    fill(dropout_training, 999)
    start = Checkpoints.load(stable, dropout_training.model, dropout_training.optimizer)
    assert start == Position(20, skipped=((5, 9), (12, 14)))
    assert value_of(dropout_training) == 20


def test_a_start_that_does_not_fit_or_is_damaged_is_refused_and_changes_nothing(
    checkpoints, dropout_training, tmp_path
) -> None:
    save(checkpoints, dropout_training, 20)
    stable = checkpoints.stable()
    fill(dropout_training, 999)
    model, optimizer = dropout_training.model, dropout_training.optimizer
    with np.load(stable / "variables.npz") as stored:
        values = dict(stored)
    random = values.pop("random")
    state = snapshot.Snapshot(position_at(20), values, random)

    def written(values: dict[str, np.ndarray]):
        folder = tmp_path / f"other{len(values)}"
        part = snapshot.Snapshot(state.position, values, state.random)
        snapshot.write_part(part, tmp_path / "draft", 0)
        snapshot.finish(part, {}, tmp_path / "draft", folder, 1)
        return folder

    with pytest.raises(CheckpointError, match=rf"holds {len(values) - 1} variables; .* have {len(values)}"):
        Checkpoints.load(written(dict(list(values.items())[:-1])), model, optimizer)
    with pytest.raises(CheckpointError, match=r"has the shape \(3, 3\) for "):
        Checkpoints.load(written(values | {"00000": np.zeros((3, 3))}), model, optimizer)
    cut(stable)
    for path in (stable, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=r"is no whole checkpoint: expected checkpoint\.json"):
            Checkpoints.load(path, model, optimizer)
    assert value_of(dropout_training) == 999


def test_a_writer_that_fails_is_told_at_the_next_call_and_leaves_the_older_ones(
    checkpoints, dropout_training, monkeypatch
) -> None:
    save(checkpoints, dropout_training, 10)
    checkpoints.wait()

    def fail(path) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(snapshot, "sync_folder", fail)
    save(checkpoints, dropout_training, 20)
    with pytest.raises(
        CheckpointError, match=r"could not be written to .*Input/output error.*older ones are untouched"
    ):
        save(checkpoints, dropout_training, 30)
    assert names(checkpoints) == ["step-00000010"]
    assert restore(checkpoints, dropout_training)[1] == 10


def test_a_full_disk_is_told_as_such(checkpoints, dropout_training, monkeypatch) -> None:
    def fail(path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(snapshot, "sync_folder", fail)
    save(checkpoints, dropout_training, 20)
    with pytest.raises(StoreError, match=r"no space left for the store at .*it resumes where it stopped"):
        checkpoints.wait()
    assert names(checkpoints) == []
