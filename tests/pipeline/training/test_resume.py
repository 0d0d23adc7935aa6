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
from interrupted_training import STEPS, TERMINATED_AT, make_training, run_training
from tiny_models import make_batches

REPORTS = [1, *range(10, STEPS + 1, 10)]
CLOCK = ("seconds", "tokens_per_second", "eta_seconds")
PRECISIONS = ["float32", "mixed_bfloat16"]
if keras.backend.backend() != "jax":  # which has no float16 attention on a CPU
    PRECISIONS.append("mixed_float16")


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Start all at once, each in a process and a folder of its own: most of their time is waiting to be imported."""
    started = {}
    for name in PRECISIONS:
        folder = tmp_path_factory.mktemp(name)
        with (folder / "output.txt").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, interrupted_training.__file__, str(folder), name],
                env=os.environ | {"KERAS_BACKEND": keras.backend.backend(), "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started[name] = (folder, process)
    yield started
    for _, process in started.values():
        process.kill()
        process.wait()


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the lines of the log without what the clock gives."""
    lines = [json.loads(line) for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_training_stopped_and_killed_ends_as_one_never_interrupted(name, broken, precision, tmp_path) -> None:
    training, batches = make_training(name), make_batches(tmp_path / "corpus")
    uninterrupted = run_training(training, tmp_path, batches)
    expected = training.values()
    assert uninterrupted.resumed_at == 0

    folder, process = broken[name]
    process.wait(900)
    output = (folder / "output.txt").read_text()
    assert process.returncode == -signal.SIGKILL, output
    stopped_at = int(output.split("Interrupted: stopped by SIGTERM at step ")[1].split()[0])
    assert TERMINATED_AT - 1 <= stopped_at <= TERMINATED_AT + 1
    assert f"continuing at step {stopped_at}" in output
    assert "at update 44; back to step 40, leaving out data steps 40 to 49" in output

    resumed = run_training(training, folder, batches)
    assert resumed.resumed_at in (40, 50)  # the killed process may have been writing the one of step 50
    for variable, actual, wanted in zip(training.variables, training.values(), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted, err_msg=variable.path)
    assert (resumed.loss, resumed.accuracy) == (uninterrupted.loss, uninterrupted.accuracy)
    assert resumed.validation == uninterrupted.validation
    assert read_log(folder) == read_log(tmp_path)
    assert [line["step"] for line in read_log(folder) if "loss" in line] == REPORTS
    assert [line["skipped"] for line in read_log(folder) if "skipped" in line] == [[[40, 50]]]
    assert [line["step"] for line in read_log(folder) if "validation_loss" in line] == [25, 50, STEPS]


def test_a_log_line_cut_by_the_kill_is_dropped(dropout_training, tmp_path) -> None:
    batches = make_batches(tmp_path / "corpus")
    run_training(dropout_training, tmp_path, batches)
    before = read_log(tmp_path)
    log = tmp_path / "logs" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 70, "lo')
    run_training(dropout_training, tmp_path, batches)
    assert read_log(tmp_path) == before
