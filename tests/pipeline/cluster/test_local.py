"""One process of its own for a training: when it is needed, and what its launcher hears of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline.cluster.launch import was_forked
from pipeline.cluster.local import run_processes
from pipeline.errors import Interrupted, PublishError, RecipeError, TradewindError
from pipeline.progress import SilentProgress

TELLS = """
from pipeline.cluster.relay import LineProgress, tell_failure
from pipeline.errors import RecipeError
LineProgress().say("begun")
tell_failure(RecipeError("model.size: received 'huge'"))
raise SystemExit(1)
"""
TELLS_ITS_OWN = """
from pipeline.cluster.relay import tell_failure
from pipeline.errors import PublishError
class OddError(PublishError): pass
tell_failure(OddError("odd"))
raise SystemExit(1)
"""
BREAKS = "raise ValueError('row 7 is odd')"
# Its launcher dies; what it still has to say reaches nobody, and it saves.
SAVES = """
import signal, sys, time
from pathlib import Path
from pipeline.cluster.relay import LineProgress
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
progress = LineProgress()
progress.say("begun")
while not told:
    time.sleep(.01)
for number in range(9):
    progress.say("saving " + "." * 9000)
Path(sys.argv[1]).write_text("saved")
"""
HANGS = """
import os, signal, sys, time
from pathlib import Path
from pipeline.cluster.member import end_after_launcher
from pipeline.cluster.relay import LineProgress
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end_after_launcher(0.1)
Path(sys.argv[1]).write_text(str(os.getpid()))
LineProgress().say("begun")
time.sleep(600)
"""
LAUNCHES = """
import os, sys
from pipeline.cluster.local import run_processes
class Tell:
    def say(self, text): print(text, flush=True)
run_processes([sys.executable, "-c", sys.argv[1], sys.argv[2]], 1, dict(os.environ), Tell())
"""


class Told(SilentProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def forked(ask) -> bool:
    """Return what a copy of this process says."""
    child = os.fork()
    if child == 0:
        os._exit(ask())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux marks copies")
def test_a_copy_of_a_process_knows_that_it_is_one_until_it_runs_a_program() -> None:
    program = [
        sys.executable,
        "-c",
        "import sys; from pipeline.cluster.launch import was_forked; sys.exit(was_forked())",
    ]
    assert subprocess.run(program).returncode == 0
    assert forked(was_forked)
    assert not forked(lambda: subprocess.run(program).returncode)


def test_what_ended_the_process_is_raised_as_it_was() -> None:
    told = Told()
    with pytest.raises(RecipeError, match=r"^model\.size: received 'huge'$"):
        run_processes([sys.executable, "-c", TELLS], 1, os.environ, told)
    assert told.said == ["begun"]


def test_an_error_of_a_part_is_raised_as_the_nearest_that_all_know() -> None:
    with pytest.raises(PublishError, match=r"^odd$"):
        run_processes([sys.executable, "-c", TELLS_ITS_OWN], 1, os.environ, Told())


def test_of_anything_else_the_traceback_is_shown() -> None:
    with pytest.raises(TradewindError, match=r"(?s)process 0 with status 1.*Traceback.*ValueError: row 7 is odd$"):
        run_processes([sys.executable, "-c", BREAKS], 1, os.environ, Told())


def test_a_killed_process_is_an_interruption() -> None:
    kill = f"import os; os.kill(os.getpid(), {signal.SIGKILL})"
    with pytest.raises(Interrupted, match="process 0 with SIGKILL"):
        run_processes([sys.executable, "-c", kill], 1, os.environ, Told())


@pytest.fixture
def orphan(tmp_path):
    """Return what runs a program whose launcher is killed once it has begun, and returns the file that it writes."""

    def run(program: str) -> Path:
        file = tmp_path / "written"
        with subprocess.Popen([sys.executable, "-c", LAUNCHES, program, str(file)], stdout=subprocess.PIPE) as launcher:
            assert launcher.stdout.readline() == b"begun\n"
            launcher.kill()
        return file

    return run


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of the parent's end")
def test_a_process_whose_launcher_was_killed_still_saves(orphan) -> None:
    saved = orphan(SAVES)
    until(saved.exists)


def test_a_process_that_hangs_does_not_outlive_its_launcher_for_long(orphan) -> None:
    number = int(orphan(HANGS).read_text())
    until(lambda: not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
