"""A training as a job of a Ray cluster of two nodes: submitted once, followed, stopped, and the same weights."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from notes_recipe import command, environment, prepared, run
from ray_parts import attempts, noted, part, running, two_nodes, wait_for
from test_processes import curve, weights

from pipeline.cluster.channel import free_port
from pipeline.cluster.ray import jobs as jobs_module
from pipeline.cluster.ray.jobs import Jobs
from pipeline.cluster.ray.launcher import Work, run_on_ray
from pipeline.config import Runtime
from pipeline.errors import ClusterError, Interrupted, TradewindError
from pipeline.progress import SilentProgress
from pipeline.store import Store

pytest.importorskip("ray", reason="ray is not installed")
needs_jobs = pytest.mark.skipif(
    importlib.util.find_spec("aiohttp_cors") is None, reason="Ray's dashboard is not installed: ray[default]"
)
RUNTIME: dict[str, Any] = {"launcher": "ray", "processes": 2, "start_seconds": 60}
# Submits the command of the further arguments, prints what it is told, and ends as the command line would.
SUBMIT = """
import sys
from pathlib import Path
from pipeline.cluster.ray.launcher import Work, run_on_ray
from pipeline.config import Runtime
from pipeline.errors import Interrupted
from pipeline.progress import SilentProgress

class Printed(SilentProgress):
    def say(self, text):
        print(text, flush=True)

try:
    folder = Path(sys.argv[1])
    runtime = Runtime(launcher="ray", processes=2)
    run_on_ray(Work(sys.argv[2:], "run-pretrain", runtime, folder, folder / "part.py"), Printed())
except Interrupted as error:
    print(error, flush=True)
    sys.exit(75)
"""


# What a step does that gives its work to the cluster: it connects, and takes no core itself.
ALONE = """
import sys
import ray
from pipeline.cluster.relay import LineProgress

ray.init(log_to_driver=False)
cores, free = (kind.get("CPU") for kind in (ray.cluster_resources(), ray.available_resources()))
if sys.argv[1] == "badly":
    sys.exit("row 7 is odd")
LineProgress().say(f"{cores:.0f} cores, and {'none' if cores == free else 'some'} is taken")
"""


class Told(SilentProgress):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.updates: list[tuple[float, float, dict[str, Any]]] = []

    def say(self, text: str) -> None:
        if not text.startswith("waiting for"):  # how fast Ray is, is no matter here
            self.said.append(text)

    def update(self, done: float, total: float, **figures: Any) -> None:
        self.updates.append((done, total, figures))


def work(folder: Path, how: str, runtime: Runtime, name: str = "run", **more: Any) -> Work:
    words = part(folder, how)
    return Work(words, name, runtime, folder, **({"probe": folder / "part.py"} | more))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("nodes")
    with two_nodes(folder, include_dashboard=True, dashboard_port=free_port()) as nodes:
        yield nodes


@pytest.fixture
def submitted(cluster, tmp_path) -> Iterator[Any]:
    """Return a function that submits from a process of its own, which is the same work each time."""
    processes: list[subprocess.Popen[str]] = []

    def submit(how: str) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", textwrap.dedent(SUBMIT), str(tmp_path), *part(tmp_path, how)]
        variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
        processes.append(subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield submit
    for process in processes:
        process.kill()
        process.communicate()


@needs_jobs
@pytest.mark.slow
def test_what_process_0_tells_arrives(cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://here")
    monkeypatch.setenv("TRADEWIND_TOKEN", "hidden")
    told = Told()
    run_on_ray(work(tmp_path, "again", Runtime(**RUNTIME), "run-1 pretrain"), told)
    assert attempts(tmp_path) == 2
    assert "run-1-pretrain-1" in told.said[0]
    assert told.said[1] == "process 0, attempt 0"
    assert "starting again from the last checkpoint (1 of at most 3 times)" in told.said[2]
    assert told.said[3:] == ["process 0, attempt 1"]
    assert told.updates == [(1, 1, {"loss": 0.5})]
    facts = noted(tmp_path, 1)
    assert facts["TRADEWIND_WORKSPACE"] == str(tmp_path)
    assert "TRADEWIND_TOKEN" not in facts


@needs_jobs
@pytest.mark.slow
def test_an_error_and_a_loss_are_told_apart_and_each_next_call_is_another_job(cluster, tmp_path) -> None:
    runtime, told = Runtime(**RUNTIME, ray={"max_failures": 0}), Told()
    with pytest.raises(TradewindError, match=r"(?s)process 1 on .* ended with status 1.*row 7 is odd$") as caught:
        run_on_ray(work(tmp_path, "fail", runtime), told)
    assert not isinstance(caught.value, Interrupted)
    with pytest.raises(Interrupted, match=r"lost 1 times.*status 75"):
        run_on_ray(work(tmp_path, "lost", runtime), told)
    first, second = (text for text in told.said if text.startswith("submitted"))
    assert (first[-2:], second[-2:]) == ("-1", "-2")


@needs_jobs
@pytest.mark.slow
def test_a_call_goes_on_with_the_job_of_one_that_was_killed(submitted, tmp_path) -> None:
    first = submitted("wait")
    noted(tmp_path, 0)
    first.kill()
    second = submitted("wait")
    assert "going on with the Ray job tradewind-" in second.stdout.readline()
    (tmp_path / "go").touch()
    out, _ = second.communicate(timeout=300)
    assert second.returncode == 0
    assert out.splitlines() == ["process 0, attempt 0"]  # told from the beginning, and once
    assert attempts(tmp_path) == 1


@needs_jobs
@pytest.mark.slow
def test_a_call_that_finds_a_job_being_stopped_submits_the_next(submitted, tmp_path) -> None:
    first = submitted("sleep")
    for member in range(2):
        noted(tmp_path, member)
    first.kill()
    second = submitted("sleep")
    told = second.stdout.readline()
    assert "going on with the Ray job tradewind-" in told
    Jobs(os.environ["RAY_ADDRESS"]).ask_to_stop(told.split()[-1])
    out, _ = second.communicate(timeout=300)
    assert second.returncode == 0, out
    assert "submitted the Ray job tradewind-" in out
    assert out.splitlines()[-1] == "process 0, attempt 1"
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0-0", "saved-0-1"}


@needs_jobs
@pytest.mark.slow
def test_a_process_alone_runs_on_the_head_and_connects_by_itself(cluster, tmp_path) -> None:
    told, script = Told(), tmp_path / "alone.py"
    script.write_text(ALONE)
    alone = Work([sys.executable, str(script), "well"], "alone", Runtime(**RUNTIME), tmp_path, script, alone=True)
    run_on_ray(alone, told)
    assert told.said[1:] == ["2 cores, and none is taken"]
    with pytest.raises(TradewindError, match=r"(?s)process 0 with status 1.*row 7 is odd$"):
        run_on_ray(replace(alone, command=[*alone.command[:-1], "badly"]), told)
    with pytest.raises(TradewindError, match=r"head does not see .*TRADEWIND_WORKSPACE"):
        run_on_ray(replace(alone, probe=tmp_path / "elsewhere"), told)


@needs_jobs
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_call_ends_the_job_and_all_can_save(submitted, tmp_path, number) -> None:
    process = submitted("wait")
    for member in range(2):
        noted(tmp_path, member)
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    assert "the same command goes on from the last checkpoint" in out
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0-0", "saved-0-1"}
    assert not running(tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "http://127.0.0.1:9", "nonsense"])
def test_an_address_that_does_not_answer_is_told(tmp_path, address) -> None:
    runtime = Runtime(**RUNTIME, ray={"address": address})
    with pytest.raises(ClusterError, match=rf"no Ray dashboard answers for the address '{address}'.*ray start --head"):
        run_on_ray(work(tmp_path, "done", runtime), SilentProgress())


def test_something_that_takes_a_connection_and_never_answers_is_told(monkeypatch) -> None:
    monkeypatch.setattr(jobs_module, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ClusterError, match="no answer within"):
        Jobs(f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.slow
def test_without_an_address_ray_is_started_here(tmp_path) -> None:
    import ray

    ray.shutdown()
    told = Told()
    runtime = Runtime(**RUNTIME, ray={"cpus_per_process": 0.5})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        run_on_ray(work(tmp_path, "again", runtime), told)
    assert not ray.is_initialized()
    assert told.said[-1] == "process 0, attempt 1"
    assert noted(tmp_path, 1)["TRADEWIND_WORKSPACE"] == str(tmp_path)


@pytest.fixture(scope="module")
def notes(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Return a recipe, a workspace that has its tokens, and one where two local processes have trained on them."""
    recipe, tokens = prepared(tmp_path_factory.mktemp("notes"), "jax")
    local = Path(shutil.copytree(tokens, tokens.parent / "local"))
    done = run(local, "step", "pretrain", str(recipe), "--processes", "2")
    assert done.returncode == 0, done.stderr
    return recipe, tokens, local


@needs_jobs
@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_two_nodes_give_the_weights_of_local_processes(cluster, notes, killed) -> None:
    recipe, tokens, local = notes
    workspace = Path(shutil.copytree(tokens, tokens.parent / f"killed{killed}"))
    words = command("step", "pretrain", str(recipe), "--processes", "2", "--set", "runtime.launcher=ray")
    process = subprocess.Popen(words, env=environment(workspace), text=True, stderr=subprocess.PIPE)
    if killed:
        wait_for(lambda: list(workspace.glob("partial/pretrain/*/checkpoints/step-*")), 200)
        _member(workspace, "1").kill()
    _, told = process.communicate(timeout=400)
    assert process.returncode == 0, told
    assert ("starting again from the last checkpoint (1 of" in told) is killed
    found, expected = weights(workspace), weights(local)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert curve(workspace) == curve(local)


@needs_jobs
@pytest.mark.slow
def test_a_whole_recipe_runs_there_and_gives_what_it_gives_here(cluster, notes) -> None:
    recipe, tokens, local = notes
    workspace = tokens.parent / "whole"
    flags = ("--processes", "2", "--set", "runtime.launcher=ray", "--set", "runtime.data_engine=ray")
    done = run(workspace, "run", str(recipe), *flags)
    assert done.returncode == 0, done.stderr
    steps = [
        re.search(r"submitted the Ray job \S+-(preprocess|pretrain|finetune)(-kind)?-1", line)
        for line in (done.stdout + done.stderr).splitlines()
    ]
    assert [step[1] for step in steps if step] == ["preprocess", "pretrain", "finetune"]
    assert content(workspace, "preprocess") == content(local, "preprocess")
    assert curve(workspace) == curve(local)
    (record,) = Store(workspace).runs.list()
    assert record["outcome"] == "succeeded"
    assert record["nodes"]["pretrain"]["seconds"] > 1
    assert not any(entry["hit"] for entry in record["nodes"].values())


def content(workspace: Path, step: str) -> dict[str, str]:
    (manifest,) = workspace.glob(f"artifacts/{step}/*/manifest.json")
    return {name: file["sha256"] for name, file in json.loads(manifest.read_text())["files"].items()}


@needs_jobs
@pytest.mark.slow
def test_one_process_trains_there_too(cluster, notes) -> None:
    recipe, tokens, local = notes
    workspace = Path(shutil.copytree(tokens, tokens.parent / "one"))
    done = run(workspace, "step", "pretrain", str(recipe), "--set", "runtime.launcher=ray")
    assert done.returncode == 0, done.stderr
    assert [step for step, _ in curve(workspace)] == [step for step, _ in curve(local)]


def _member(workspace: Path, number: str) -> psutil.Process:
    for process in psutil.process_iter(["cmdline"]):
        if "pipeline.cluster.member" in (process.info["cmdline"] or []):
            found = process.environ()
            if (found.get("TRADEWIND_WORKSPACE"), found.get("TRADEWIND_PROCESS_ID")) == (str(workspace), number):
                return process
    raise AssertionError(f"process {number} does not run")
