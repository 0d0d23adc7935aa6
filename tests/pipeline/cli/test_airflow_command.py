"""What `tradewind airflow` decides before anything is started; starting it for real is tests/e2e/test_airflow.py."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.cli import airflow, main
from pipeline.cli.airflow_processes import Processes, kill, session_members
from pipeline.config import Settings
from pipeline.errors import TradewindError


@pytest.fixture
def settings(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("TRADEWIND_RECIPES", str(tiny_recipe.parent))
    return Settings()


def test_the_environment_keeps_airflow_in_the_workspace_and_on_this_machine(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://somewhere/else")
    monkeypatch.setenv("NO_PROXY", "example.org")
    home = tmp_path / "workspace" / "airflow"
    found = airflow.environment(settings, home, 8123)
    assert found["AIRFLOW_HOME"] == str(home)
    assert found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{home}/airflow.db"
    assert found["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert found["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert found["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8123/execution/"
    assert found["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    assert found["PATH"] == os.environ["PATH"]


def test_relative_folders_are_those_of_the_user_and_the_default_recipes_those_of_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRADEWIND_WORKSPACE", raising=False)
    monkeypatch.delenv("TRADEWIND_RECIPES", raising=False)
    found = airflow.environment(Settings(), tmp_path, 8123)
    assert found["TRADEWIND_WORKSPACE"] == str(tmp_path / "workspace")
    assert found["TRADEWIND_RECIPES"] == str(airflow.PROJECT / "configs")
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("TRADEWIND_RECIPES", "mine")
    assert airflow.environment(Settings(), tmp_path, 8123)["TRADEWIND_RECIPES"] == str(tmp_path / "mine")


def test_without_dag_files_or_recipes_nothing_starts(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRADEWIND_RECIPES", str(tmp_path / "none"))
    assert main(["airflow"]) == 1
    assert "there is no such folder of recipes" in capsys.readouterr().err
    monkeypatch.setattr(airflow, "PROJECT", tmp_path)
    assert main(["airflow"]) == 1
    assert f"{tmp_path / 'dags'} does not hold the project's DAG files" in capsys.readouterr().err
    assert not (tmp_path / "workspace").exists()


def test_the_password_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    first = airflow.password(tmp_path)
    assert len(first) >= 16
    assert airflow.password(tmp_path) == first
    file = tmp_path / "passwords.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == {"admin": first}


def test_a_port_in_use_is_refused(settings, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["airflow", "--port", str(port)]) == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


def test_a_signal_asks_to_stop_and_the_next_one_to_hurry():
    before = signal.getsignal(signal.SIGTERM)
    with airflow.told_to_stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.asked.is_set(), stop.hurried.is_set()) == (True, False)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.hurried.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


# Stands for a component: forks a child that leads its own process group, as the tasks do, and both ignore SIGTERM.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setpgid(0, 0)
open(sys.argv[1] + str(os.getpid()), "w").close()
time.sleep(600)
"""


@pytest.fixture
def family(tmp_path):
    """Return a running process with its child, in a session of their own."""
    (tmp_path / "family").mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, str(tmp_path / "family") + os.sep], start_new_session=True
    )
    end = time.monotonic() + 60
    while len(list((tmp_path / "family").iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    yield parent
    kill(session_members({parent.pid}))
    parent.wait()


def test_stopping_leaves_nothing_behind_not_even_what_ignores_the_signal(family, tmp_path):
    processes = Processes(tmp_path, {})
    processes.running["scheduler"] = family
    assert len(session_members({family.pid})) == 2
    processes.stop(hurried=lambda: True)
    assert session_members({family.pid}) == []


def test_what_a_killed_start_has_left_running_is_found_by_the_next(family, tmp_path):
    processes = Processes(tmp_path, {})
    assert processes.left_over() == []
    created = psutil.Process(family.pid).create_time()
    processes.list.write_text(json.dumps({"components": {"scheduler": [family.pid, created]}}))
    child = next(process for process in session_members({family.pid}) if process.pid != family.pid)
    family.kill()
    family.wait()
    assert processes.left_over() == [child], "found although its parent is gone"
    processes.list.write_text(json.dumps({"components": {"scheduler": [family.pid, time.time() + 60]}}))
    assert processes.left_over() == [], "a session older than the list is somebody else's"


def test_a_component_that_ends_is_told_with_the_end_of_its_log(tmp_path):
    processes = Processes(tmp_path, os.environ | {"AIRFLOW_HOME": str(tmp_path)})
    with pytest.raises(TradewindError, match=r"(?s)db-migrate ended with exit code 2.*invalid choice: 'no-such-thing'"):
        processes.run("db-migrate", "db", "no-such-thing", stopped=lambda: False)
