import importlib.util
import subprocess
import sys

import keras
import pytest

from pipeline.backend import BACKENDS, has_accelerator, select_backend, select_precision
from pipeline.errors import BackendError

LOADED = keras.backend.backend()
OTHER = next(name for name in ("tensorflow", "jax") if name != LOADED)


def without(monkeypatch, *missing: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in missing else find(name, *a))


def test_the_loaded_backend_is_kept() -> None:
    assert select_backend("auto") == LOADED
    assert select_backend(LOADED) == LOADED


def test_a_second_backend_in_one_process_is_refused() -> None:
    with pytest.raises(BackendError, match=f"is '{OTHER}', but Keras already runs on '{LOADED}'.*start a new process"):
        select_backend(OTHER)


def test_a_missing_backend_is_told_with_the_command_that_installs_it(monkeypatch) -> None:
    without(monkeypatch, "torch")
    with pytest.raises(BackendError) as caught:
        select_backend("torch")
    message = str(caught.value)
    assert "runtime.backend is 'torch', which is not installed" in message
    assert "pip install 'tradewind[torch]'" in message
    assert "one of: auto, jax, tensorflow" in message


def test_without_any_backend_auto_says_so(monkeypatch) -> None:
    without(monkeypatch, *BACKENDS)
    with pytest.raises(BackendError, match="none of jax, tensorflow, torch is installed; install one"):
        select_backend("auto")


CHOOSE = """
import os, sys
from pipeline.backend import select_backend
print(select_backend(sys.argv[1]), os.environ["KERAS_BACKEND"], "keras" in sys.modules)
"""


@pytest.mark.parametrize(("asked", "chosen"), [("tensorflow", "tensorflow"), ("auto", "jax")])
def test_the_choice_is_made_before_keras_is_imported(asked, chosen, tmp_path) -> None:
    environment = {"HOME": str(tmp_path), "KERAS_BACKEND": "tensorflow"}
    process = subprocess.run([sys.executable, "-c", CHOOSE, asked], env=environment, capture_output=True, text=True)
    assert process.stdout.split() == [chosen, chosen, "False"], process.stderr


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16"])
def test_a_precision_that_works_everywhere_is_taken_as_it_is(name) -> None:
    assert select_precision(name) == name


def test_auto_precision_is_float32_on_a_cpu_and_bfloat16_on_an_accelerator() -> None:
    assert select_precision("auto") == ("mixed_bfloat16" if has_accelerator() else "float32")
