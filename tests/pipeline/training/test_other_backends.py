"""The suites of models, training and steps once more, on every backend that this process does not run on."""

import importlib.util
import os
import subprocess
import sys

import keras
import other_backend
import pytest
from exchange import check_answers, write_answers

from pipeline.backend import BACKENDS

OTHERS = [name for name in BACKENDS if name != keras.backend.backend()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Start all at once, each in a process and a folder of its own, with this backend's weights to compare."""
    started = {}
    for backend in OTHERS:
        if importlib.util.find_spec(backend):
            folder = tmp_path_factory.mktemp(backend)
            write_answers(folder)
            with (folder / "output.txt").open("w") as output:
                started[backend] = (
                    folder,
                    subprocess.Popen(
                        [sys.executable, other_backend.__file__, str(folder)],
                        # One thread each, because torch's threads wait for each other by spinning.
                        env=os.environ | {"KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"},
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    ),
                )
    yield started
    for _, process in started.values():
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_the_suites_pass_and_weights_move_both_ways(backend, runs) -> None:
    if backend not in runs:
        pytest.skip(f"{backend} is not installed")
    folder, process = runs[backend]
    code = process.wait()
    output = (folder / "output.txt").read_text()
    assert code == 0, output[-20_000:]
    assert f"compared with {keras.backend.backend()}\n" in output
    assert check_answers(folder) == [backend]
