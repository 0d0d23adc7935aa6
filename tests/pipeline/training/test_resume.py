"""N updates, SIGKILL and N more are 2N updates: difference 0.0, on every backend and in every precision of it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import interrupted_training
import keras
import numpy as np
import pytest
from interrupted_training import KILLED_AT, STEPS, TERMINATED_AT, Ending, make_training, run_training
from tiny_models import make_batches

REPORTS = [1, *range(10, STEPS + 1, 10)]
CLOCK = ("seconds", "tokens_per_second", "eta_seconds")


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the lines of the log without what the clock gives."""
    lines = [json.loads(line) for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


def check_same(training, resumed, folder: Path, expected: list[np.ndarray], uninterrupted, whole: Path) -> None:
    """Check that weights, optimizer, random state and log are those of the training that nothing interrupted."""
    assert uninterrupted.resumed_at == 0
    assert resumed.resumed_at in (40, 50)  # a killed process may have been writing the one of step 50
    for variable, actual, wanted in zip(training.variables, training.values(), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted, err_msg=variable.path)
    assert (resumed.loss, resumed.accuracy) == (uninterrupted.loss, uninterrupted.accuracy)
    assert resumed.validation == uninterrupted.validation
    log = read_log(folder)
    assert log == read_log(whole)
    assert [line["step"] for line in log if "loss" in line] == REPORTS
    assert [line["skipped"] for line in log if "skipped" in line] == [[[40, 50]]]
    assert [line["step"] for line in log if "validation_loss" in line] == [25, 50, STEPS]


def test_a_training_terminated_and_killed_ends_as_one_never_interrupted(precision, tmp_path) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, interrupted_training.__file__, str(broken), "mixed_bfloat16"],
        env=os.environ | {"KERAS_BACKEND": keras.backend.backend()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    training, batches = make_training("mixed_bfloat16"), make_batches(tmp_path / "corpus")
    uninterrupted = run_training(training, whole, batches)
    expected = training.values()

    output, _ = process.communicate(timeout=900)
    assert process.returncode == -signal.SIGKILL, output
    stopped_at = int(output.split("Interrupted: stopped by SIGTERM at step ")[1].split()[0])
    assert TERMINATED_AT - 1 <= stopped_at <= TERMINATED_AT + 1
    assert f"continuing at step {stopped_at}" in output
    assert "at update 44; back to step 40, leaving out data steps 40 to 49" in output
    resumed = run_training(training, broken, batches)
    check_same(training, resumed, broken, expected, uninterrupted, whole)


class Broken(BaseException):
    """Stands for the end of the process, without paying for another one."""


def end() -> None:
    raise Broken


@pytest.mark.parametrize("name", ["float32", "mixed_float16"])
def test_in_the_other_precisions_too(name, precision, tmp_path) -> None:
    if (keras.backend.backend(), name) == ("jax", "mixed_float16"):
        pytest.skip("JAX has no float16 attention on a CPU")
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    training, batches = make_training(name), make_batches(tmp_path / "corpus")
    uninterrupted = run_training(training, whole, batches)
    expected = training.values()
    for step in (TERMINATED_AT, KILLED_AT):
        with pytest.raises(Broken):
            run_training(training, broken, Ending(batches, step, end))
    resumed = run_training(training, broken, batches)
    check_same(training, resumed, broken, expected, uninterrupted, whole)


def test_a_log_line_cut_by_the_kill_is_dropped(dropout_training, tmp_path) -> None:
    batches = make_batches(tmp_path / "corpus")
    run_training(dropout_training, tmp_path, batches)
    before = read_log(tmp_path)
    log = tmp_path / "logs" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 70, "lo')
    run_training(dropout_training, tmp_path, batches)
    assert read_log(tmp_path) == before
