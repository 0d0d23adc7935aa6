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
from interrupted_training import KILLED_AT, STEPS, TERMINATED_AT, run_training
from tiny_models import make_batches

REPORTS = [1, 10, 20, 30, 40]


def read_log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]


def test_a_training_stopped_and_killed_ends_as_one_never_interrupted(dropout_training, tmp_path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    batches = make_batches(tmp_path / "corpus")
    uninterrupted = run_training(dropout_training, whole, batches)
    expected = dropout_training.values()
    assert uninterrupted.resumed_at == 0

    process = subprocess.run(
        [sys.executable, interrupted_training.__file__, str(broken)],
        env=os.environ | {"KERAS_BACKEND": keras.backend.backend()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    stopped_at = int(process.stdout.split("Interrupted: stopped by SIGTERM at step ")[1].split()[0])
    assert TERMINATED_AT - 1 <= stopped_at <= TERMINATED_AT + 1
    assert f"continuing at step {stopped_at}" in process.stdout
    assert sorted(path.name for path in (broken / "checkpoints").glob("step-*"))[-1] == "step-00000020"

    resumed = run_training(dropout_training, broken, batches)
    assert resumed.resumed_at == 20 < KILLED_AT
    assert resumed.steps == STEPS
    for variable, actual, wanted in zip(dropout_training.variables, dropout_training.values(), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted, err_msg=variable.path)
    assert (resumed.loss, resumed.accuracy) == (uninterrupted.loss, uninterrupted.accuracy)

    log, reference = read_log(broken), read_log(whole)
    assert [line["step"] for line in log] == [line["step"] for line in reference] == REPORTS
    assert [(line["loss"], line["accuracy"]) for line in log] == [
        (line["loss"], line["accuracy"]) for line in reference
    ]
    seconds = [line["seconds"] for line in log]
    assert seconds == sorted(seconds)
    assert resumed.seconds == pytest.approx(seconds[-1], abs=0.01)


def test_a_log_line_cut_by_the_kill_is_dropped(dropout_training, tmp_path) -> None:
    batches = make_batches(tmp_path / "corpus")
    run_training(dropout_training, tmp_path, batches)
    log = tmp_path / "logs" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 40, "lo')
    run_training(dropout_training, tmp_path, batches)
    assert [line["step"] for line in read_log(tmp_path)] == REPORTS
