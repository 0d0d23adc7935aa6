"""What one process compiled the next one loads, unless it is damaged or of another machine."""

import os
import re
import subprocess
import sys

import compiled_once
import keras
import pytest

from pipeline.training import compile_cache
from pipeline.training.compile_cache import JAX_FOLDER, SEALS, drop_damaged, keep_compiled, seal

BACKEND = keras.backend.backend()
ANSWER = 1134.0


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch) -> None:
    monkeypatch.delenv(JAX_FOLDER, raising=False)


def compile_once(folder) -> tuple[float, int]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.run(
        [sys.executable, compiled_once.__file__, BACKEND, str(folder)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert process.returncode == 0, process.stderr
    found = re.search(r"answer (\S+) hits (\d+)", process.stdout)
    assert found
    return float(found[1]), int(found[2])


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs without compiling")
def test_the_second_process_loads_and_damage_is_compiled_anew(tmp_path) -> None:
    folder = tmp_path / "with a space"
    assert compile_once(folder) == (ANSWER, 0)
    (home,) = folder.iterdir()
    entries = [path for path in home.iterdir() if path.is_file()]
    assert entries
    assert compile_once(folder) == (ANSWER, len(entries))
    for entry in entries:
        damaged = bytearray(entry.read_bytes())
        damaged[len(damaged) // 2] ^= 1  # one bit, which no compression notices
        entry.write_bytes(damaged)
    assert compile_once(folder) == (ANSWER, 0)
    assert compile_once(folder) == (ANSWER, len(entries))


@pytest.mark.skipif(BACKEND != "jax", reason="a variable of JAX")
def test_a_folder_that_the_user_has_named_stays(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(JAX_FOLDER, str(tmp_path / "chosen"))
    assert compile_once(tmp_path / "ours") == (ANSWER, 0)
    assert not (tmp_path / "ours").exists()
    assert compile_once(tmp_path / "ours")[1] > 0


@pytest.mark.skipif(BACKEND != "torch", reason="the others keep a cache")
def test_torch_keeps_nothing(tmp_path) -> None:
    assert keep_compiled("torch", tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def home(tmp_path):
    (tmp_path / SEALS).mkdir()
    for number in range(3):
        file = tmp_path / f"entry-{number}"
        file.write_bytes(b"x" * 100)
        os.utime(file, (number, number))
    return tmp_path


def entries(home) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.is_file())


def test_an_entry_counts_only_as_it_was_sealed(home) -> None:
    seal(home)
    (home / "entry-0").write_bytes(b"y" * 100)
    (home / "half-written").write_bytes(b"z")  # by a process that was killed
    seals = (home / SEALS / "entry-1").stat().st_mtime_ns
    drop_damaged(home)
    assert entries(home) == ["entry-1", "entry-2"]
    seal(home)
    assert (home / SEALS / "entry-1").stat().st_mtime_ns == seals
    assert sorted(path.name for path in (home / SEALS).iterdir()) == entries(home)


def test_the_oldest_go_when_there_are_too_many(home, monkeypatch) -> None:
    seal(home)
    monkeypatch.setattr(compile_cache, "MOST_BYTES", 250)
    drop_damaged(home)
    assert entries(home) == ["entry-1", "entry-2"]


@pytest.mark.skipif(BACKEND != "jax", reason="one backend is enough")
def test_another_processor_has_a_cache_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(compile_cache, "_keep_on_jax", lambda home: None)
    monkeypatch.setattr(compile_cache.atexit, "register", lambda *call: None)
    own = keep_compiled("jax", tmp_path)
    assert keep_compiled("jax", tmp_path) == own
    monkeypatch.setattr(compile_cache, "processor_features", lambda: "another")
    assert keep_compiled("jax", tmp_path) != own
