"""The command line as a user meets it: a whole run on each backend, then a prediction, then a run that keeps all."""

import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config import Settings
from pipeline.registry import Registry
from pipeline.steps import GRAPH
from pipeline.training.compile_cache import JAX_FOLDER


def tradewind(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", JAX_FOLDER)}
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env=environment | {"TRADEWIND_WORKSPACE": str(workspace)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def check_what_a_training_leaves(workspace: Path, backend: str) -> None:
    """Check its curves in TensorBoard's files and in MLflow, and its compiled programs."""
    for step in ("pretrain", "finetune"):
        assert list(workspace.glob(f"artifacts/{step}/*/logs/tensorboard/events.*"))
    client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    curves = {run.info.run_name: run for run in found if "loss" in run.data.metrics}
    assert set(curves) == {"pretrain", "finetune[kind]"}
    assert {run.info.status for run in curves.values()} == {"FINISHED"}
    assert curves["pretrain"].data.params["pretrain.steps"] == "4"
    assert [point.step for point in client.get_metric_history(curves["pretrain"].info.run_id, "loss")] == [1, 4]
    entries = {path.name for path in workspace.glob(f"cache/compiled/{backend}-*/*") if path.is_file()}
    sealed = {path.name for path in workspace.glob(f"cache/compiled/{backend}-*/seals/*")}
    assert entries == sealed
    assert bool(entries) == (backend != "torch")  # which compiles nothing here


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_a_recipe_runs_from_text_to_a_prediction(tiny_recipe: Path, tmp_path: Path, backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; it comes with an extra")
    workspace = tmp_path / "workspace"
    run = ["run", str(tiny_recipe), "--set", f"runtime.backend={backend}"]

    first = tradewind(workspace, *run)
    assert first.returncode == 0, first.stderr
    assert "published as tiny-kind version 1" in first.stdout
    assert "tradewind predict --model tiny-kind" in first.stdout
    manifests = [json.loads(path.read_text()) for path in workspace.glob("artifacts/*/*/manifest.json")]
    trained = {manifest["step"]: manifest for manifest in manifests if manifest["step"] in ("pretrain", "finetune")}
    assert {manifest["result"]["backend"] for manifest in trained.values()} == {backend}
    assert next(workspace.glob("reports/*/index.html")).stat().st_size > 10_000
    check_what_a_training_leaves(workspace, backend)

    answer = tradewind(workspace, "predict", "--json", "rain and wind at the harbour")
    assert answer.returncode == 0, answer.stderr
    assert "weather" in answer.stdout

    second = tradewind(workspace, *run)
    assert second.stdout.count("kept from an earlier run") == sum(
        not (step.asked_by or step.part_of) for step in GRAPH.values()
    )
    assert "published as tiny-kind version 1" in second.stdout


@pytest.mark.slow
def test_a_failed_run_says_what_why_and_how_to_go_on(tiny_recipe: Path, tmp_path: Path) -> None:
    data = tmp_path / "notes.csv"
    data.write_text("place,kind,note\n" + "".join(f"p{n},trade,silk number {n}\n" for n in range(60)))
    failed = tradewind(tmp_path / "workspace", "run", str(tiny_recipe))
    assert failed.returncode == 1
    assert "validate" in failed.stderr
    assert "at least 2" in failed.stderr or "two" in failed.stderr
    assert f"tradewind run {tiny_recipe}" in failed.stderr.strip().splitlines()[-1]
    assert "Traceback" not in failed.stderr
    assert not list((tmp_path / "workspace").glob("artifacts/*/*"))


@pytest.mark.slow
def test_two_runs_at_once_share_each_step_and_publish_one_version(tiny_recipe: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: tradewind(workspace, "run", str(tiny_recipe)), range(2)))
    assert [run.returncode for run in runs] == [0, 0], [run.stderr for run in runs]
    made = [path.parent.name for path in workspace.glob("artifacts/*/*")]
    assert set(made) >= {"validate", "preprocess", "pretrain", "finetune", "gate", "publish"}
    assert len(made) == len(set(made)), "no step was computed twice"
    (version,) = Registry.for_workspace(Settings(workspace=workspace)).versions("tiny-kind")
    assert version.aliases == ("champion",)
