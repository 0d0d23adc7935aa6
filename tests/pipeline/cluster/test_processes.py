"""Processes on this machine that train one model, through the command line: undisturbed, killed, stopped, fewer."""

import importlib.util
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from notes_recipe import command, environment, prepared, run, weights

from pipeline.cluster.channel import free_port

pytestmark = pytest.mark.slow


class Notes:
    """A recipe with its tokens, and what two undisturbed processes make of it."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.folder = folder
        self.recipe, self.tokens = prepared(folder, backend)
        workspace = self.workspace("undisturbed")
        done = run(workspace, *self.pretrain(2))
        assert done.returncode == 0, done.stderr
        self.weights = weights(workspace)
        self.curve = curve(workspace)

    def workspace(self, name: str) -> Path:
        """Return a new workspace that has the tokens."""
        return Path(shutil.copytree(self.tokens, self.folder / name))

    def pretrain(self, processes: int) -> list[str]:
        return ["step", "pretrain", str(self.recipe), "--processes", str(processes)]

    def disturbed(self, name: str, disturb) -> tuple[Path, subprocess.CompletedProcess[str]]:
        """Return a workspace, and how training ended there that was disturbed once it had saved something."""
        return disturbed(self.workspace(name), self.pretrain(2), disturb)


def disturbed(workspace: Path, arguments: list[str], disturb) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Run a command, disturb it once a checkpoint stands, and return the workspace and how it ended."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command(*arguments), env=environment(workspace), text=True, **pipes)
    end = time.monotonic() + 200
    while not list(workspace.glob("partial/pretrain/*/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    disturb(process)
    out, err = process.communicate(timeout=120)
    return workspace, subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module", params=["jax", "torch"])
def notes(request, tmp_path_factory) -> Notes:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed; it comes with an extra")
    return Notes(tmp_path_factory.mktemp(request.param), request.param)


def curve(workspace: Path) -> list[tuple[int, float]]:
    (log,) = workspace.glob("artifacts/pretrain/*/logs/metrics.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def member(process: subprocess.Popen, number: int) -> psutil.Process:
    children = psutil.Process(process.pid).children()
    return next(child for child in children if child.environ().get("TRADEWIND_PROCESS_ID") == str(number))


@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_process_ends_all_and_the_same_command_gives_the_same_weights(notes, number) -> None:
    workspace, ended = notes.disturbed(f"killed{number}", lambda process: member(process, number).kill())
    assert ended.returncode == 75, ended.stderr
    assert f"process {number} with SIGKILL" in ended.stderr
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(workspace) in " ".join(p.info["cmdline"] or [])]
    again = run(workspace, *notes.pretrain(2))
    assert again.returncode == 0, again.stderr
    check_same(notes, workspace)


@pytest.mark.parametrize("whom", ["all", "process 1"])
def test_sigterm_saves_one_checkpoint_and_ends_all(notes, whom) -> None:
    def terminate(process: subprocess.Popen) -> None:
        (process if whom == "all" else member(process, 1)).send_signal(signal.SIGTERM)

    workspace, ended = notes.disturbed(f"stopped {whom}", terminate)
    assert ended.returncode == 75, ended.stderr
    assert "training ended early" in ended.stderr
    saved = max(workspace.glob("partial/pretrain/*/checkpoints/step-*"))
    description = json.loads((saved / "checkpoint.json").read_text())
    assert sorted(description["sha256"]) == ["variables-00001.npz", "variables.npz"]
    assert not list(workspace.glob("partial/pretrain/*/checkpoints/.step-*"))
    again = run(workspace, *notes.pretrain(2))
    assert again.returncode == 0, again.stderr
    assert f"continuing at step {description['step']}" in again.stderr
    check_same(notes, workspace)


def test_one_process_goes_on_where_two_were_killed(notes) -> None:
    workspace, ended = notes.disturbed("fewer", lambda process: member(process, 1).kill())
    assert ended.returncode == 75, ended.stderr
    again = run(workspace, *notes.pretrain(1))
    assert again.returncode == 0, again.stderr
    assert "continuing at step" in again.stderr
    # Dropout draws other masks, so the curves agree as those of two seeds do, and no closer.
    steps, losses = zip(*curve(workspace), strict=True)
    assert steps == tuple(step for step, _ in notes.curve)
    assert losses[-1] == pytest.approx(notes.curve[-1][1], rel=0.2)


def test_a_launcher_that_starts_the_command_itself(notes) -> None:
    """As torchrun does; process 1 has another recipe the first time."""
    workspace = notes.workspace("torchrun")
    address = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}

    def start(*overrides: str) -> list[subprocess.CompletedProcess[str]]:
        port = str(free_port())
        processes = [
            subprocess.Popen(
                command("step", "pretrain", str(notes.recipe), *(overrides if rank else ())),
                env=environment(workspace, RANK=str(rank), MASTER_PORT=port, **address),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        told = [process.communicate(timeout=300) for process in processes]
        return [subprocess.CompletedProcess("", p.returncode, *t) for p, t in zip(processes, told, strict=True)]

    for ended in start("--set", "seed=4"):
        assert ended.returncode == 1
        assert "process 1 on" in ended.stderr
        assert "has another recipe than process 0" in ended.stderr
    assert not list(workspace.glob("artifacts/pretrain/*"))
    first, second = start()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Traceback" not in first.stderr + second.stderr
    check_same(notes, workspace)


def check_same(notes: Notes, workspace: Path) -> None:
    found = weights(workspace)
    assert found.keys() == notes.weights.keys()
    for name, value in notes.weights.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert curve(workspace) == notes.curve


def test_a_backend_that_cannot_is_told_before_anything_is_trained(notes, tmp_path) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    workspace = notes.workspace("tensorflow")
    ended = run(workspace, *notes.pretrain(2), "--set", "runtime.backend=tensorflow")
    assert ended.returncode == 1
    assert "trains in one process here; set runtime.backend to jax or torch" in ended.stderr
    assert not list(workspace.glob("artifacts/pretrain/*"))


MESHES = {
    "fsdp": ("--processes", "2", "--set", "runtime.mesh.data=1", "--set", "runtime.mesh.fsdp=2"),
    "model": ("--processes", "2", "--set", "runtime.mesh.data=1", "--set", "runtime.mesh.model=2"),
    "four": ("--processes", "4", "--set", "runtime.mesh.data=2", "--set", "runtime.mesh.fsdp=2"),
}


@pytest.mark.parametrize("mesh", MESHES)
def test_a_model_in_parts_is_saved_in_parts_and_goes_on_elsewhere(tmp_path, mesh) -> None:
    """No process has the whole; killed, it goes on in one process, to the weights of one that was never in parts."""
    recipe, tokens = prepared(tmp_path, "jax", steps=40)
    recipe.write_text(recipe.read_text().replace("dropout: 0.1", "dropout: 0.0"))
    whole, parts = tmp_path / "whole", Path(shutil.copytree(tokens, tmp_path / "parts"))
    shutil.copytree(tokens, whole)
    done = run(whole, "step", "pretrain", str(recipe))
    assert done.returncode == 0, done.stderr
    step = ("step", "pretrain", str(recipe))
    _, ended = disturbed(parts, [*step, *MESHES[mesh]], lambda process: member(process, 1).kill())
    assert ended.returncode == 75, ended.stderr
    saved = max(parts.glob("partial/pretrain/*/checkpoints/step-*"))
    sizes = [file.stat().st_size for file in sorted(saved.glob("variables*.npz"))]
    assert len(sizes) == (4 if mesh == "four" else 2)
    assert min(sizes[:2]) > 0.4 * max(sizes) or mesh == "four"
    again = run(parts, *step)
    assert again.returncode == 0, again.stderr
    assert "continuing at step" in again.stderr
    expected, found = weights(whole), weights(parts)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-5, err_msg=name)
