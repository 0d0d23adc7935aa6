from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Factors, Runs, Store

WORKER = Path(__file__).with_name("store_worker.py")
FACTORS = Factors("pretrain", {"seed": 17}, {}, "source")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start_worker(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(WORKER), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start_worker
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path: Path, words: str = "") -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path.exists() and words in (text := path.read_text()) and text:
            return text
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear with {words!r}")


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(output)
    return answer


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_step_resumes_in_its_folder(start: Start, root: Path, tmp_path: Path) -> None:
    first = start("step", root, tmp_path, "first")
    wait_for(tmp_path / "first.started")
    kill(first)
    store = Store(root)
    assert list(store.artifacts()) == []
    folders: list[Path] = []

    def resume(out: Path) -> dict[str, Any]:
        folders.append(out)
        return {"found": (out / "checkpoint-first").read_text()}

    said: list[str] = []
    artifact = store.run("pretrain", FACTORS, resume, said.append)
    assert artifact.result == {"found": "first"}
    assert folders == [root / "partial" / "pretrain" / FACTORS.fingerprint()]
    assert any("resuming" in text for text in said)


def test_two_processes_do_the_work_once(start: Start, root: Path, tmp_path: Path) -> None:
    first = start("step", root, tmp_path, "first")
    wait_for(tmp_path / "first.started")
    second = start("step", root, tmp_path, "second")
    wait_for(tmp_path / "second.said", f"waiting for process {first.pid} on ")
    (tmp_path / "go").touch()
    made, got = answer_of(first), answer_of(second)
    assert (made["hit"], got["hit"]) == (False, True)
    assert got["result"] == made["result"] == {"made_by": "first"}
    assert got["path"] == made["path"]
    assert (tmp_path / "attempts").read_text() == "first found []\n"


def test_waiter_takes_over_from_a_dead_owner(start: Start, root: Path, tmp_path: Path) -> None:
    first = start("step", root, tmp_path, "first")
    wait_for(tmp_path / "first.started")
    second = start("step", root, tmp_path, "second")
    wait_for(tmp_path / "second.said", "waiting for process")
    kill(first)
    wait_for(tmp_path / "second.said", "resuming")
    (tmp_path / "go").touch()
    got = answer_of(second)
    assert not got["hit"]
    assert got["result"] == {"made_by": "second"}
    assert (tmp_path / "attempts").read_text() == "first found []\nsecond found ['checkpoint-first']\n"


def test_a_lock_does_not_outlive_its_owner_in_a_child(root: Path, tmp_path: Path) -> None:
    """A step's helper process may survive the step; it must not keep the lock."""
    script = (
        "import os, sys, time\n"
        "from pipeline.store import Factors, Store\n"
        "def work(out):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        time.sleep(600)\n"
        "    open(sys.argv[2], 'w').write(str(child))\n"
        "    time.sleep(600)\n"
        "Store(sys.argv[1]).run('pretrain', Factors('pretrain', {'seed': 17}, {}, 'source'), work)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(root), str(tmp_path / "child")])
    child = int(wait_for(tmp_path / "child"))
    kill(owner)
    try:
        assert not Store(root).run("pretrain", FACTORS, lambda out: {}).hit
    finally:
        os.kill(child, signal.SIGKILL)


def test_concurrent_records_lose_nothing(start: Start, root: Path) -> None:
    runs = Runs(root)
    runs.create("busy", {"name": "tiny"})
    writers = [start("record", root, "busy", name, 25) for name in ("a", "b", "c", "d")]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    expected = {f"{name}.{number}" for name in "abcd" for number in range(25)}
    assert set(runs.load("busy")["nodes"]) == expected
