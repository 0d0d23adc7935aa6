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


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange")
    write_answers(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != keras.backend.backend()])
def test_the_suites_pass_and_weights_move_both_ways(backend, exchange) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; pip install 'tradewind[{backend}]' adds it")
    process = subprocess.run(
        [sys.executable, other_backend.__file__, str(exchange)],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-20_000:] + process.stderr[-2_000:]
    compared = process.stdout.split("compared with ")[1].splitlines()[0]
    assert keras.backend.backend() in compared.split()
    assert backend in check_answers(exchange)
