"""`mlflow models serve` on the version that `tradewind predict` answers with, signed and asked for its signature."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from key_files import make_keys
from tiny_bundle import TEXTS, make_bundle

from pipeline.config import Settings
from pipeline.registry import Registry

MODEL = "clinic-organ"
STARTS = 60  # seconds


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A workspace with a signed champion, in the environment of a process that asks for signatures."""
    folder = tmp_path_factory.mktemp("served")
    keys, workspace = make_keys(folder / "keys"), folder / "workspace"
    settings = Settings(workspace=workspace, signing_key=keys.signing, verify_key=keys.verify)
    export = make_bundle(folder / "export")
    (export / "requirements.txt").write_text("keras\n")
    (export / "MODEL_CARD.md").write_text("# A model\n")
    registry = Registry.for_workspace(settings)
    registry.publish(
        MODEL,
        export,
        fingerprint="f1",
        publish_reference="publish/1",
        expected_champion=None,
        tags={},
        metrics={},
        params={},
        experiment="clinic",
    )
    own = {"TRADEWIND_WORKSPACE": str(workspace), "TRADEWIND_VERIFY_KEY": str(keys.verify)}
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # MLflow starts uvicorn by its name
    return os.environ | own | {"MLFLOW_TRACKING_URI": registry.uri, "NO_PROXY": "127.0.0.1", "PATH": programs}


def without_our_code(environment: dict[str, str]) -> dict[str, str]:
    """The code that was published with the version is what answers."""
    return {name: value for name, value in environment.items() if name != "PYTHONPATH"}


@contextmanager
def served(environment: dict[str, str], log: Path) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{MODEL}@champion"]
    options = ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    with log.open("w") as told:
        process = subprocess.Popen(
            [*command, *options], env=without_our_code(environment), stdout=told, stderr=told, start_new_session=True
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            deadline = time.monotonic() + STARTS
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    client.get("/ping").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            else:
                pytest.fail(f"it does not serve: {log.read_text()[-2000:]}")
            yield client
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


@pytest.mark.slow
def test_it_answers_as_predict_does(environment: dict[str, str], tmp_path: Path) -> None:
    with served(environment, tmp_path / "log") as client:
        answered = client.post("/invocations", json={"inputs": TEXTS}).raise_for_status().json()["predictions"]
    command = [sys.executable, "-m", "pipeline.cli", "predict", "--json", "--top", "1", "--model", MODEL, *TEXTS]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    expected = [json.loads(line) for line in said.splitlines()]
    assert [answer["label"] for answer in answered] == [answer["label"] for answer in expected]
    assert len({answer["label"] for answer in answered}) > 1
    assert [answer["confidence"] for answer in answered] == pytest.approx(
        [answer["confidence"] for answer in expected], abs=1e-5
    )


@pytest.mark.slow
def test_mlflow_refuses_files_that_nobody_signed(environment: dict[str, str], tmp_path: Path) -> None:
    registry = Registry.for_workspace(Settings(workspace=Path(environment["TRADEWIND_WORKSPACE"])))
    bundle = registry.champion(MODEL).bundle
    model = shutil.copytree(bundle.parents[1], tmp_path / "model")
    copy = model / bundle.relative_to(bundle.parents[1])
    (copy / "model.sig").unlink()
    code = "import sys, mlflow.pyfunc; mlflow.pyfunc.load_model(sys.argv[1])"
    command = [sys.executable, "-c", code, str(model)]
    said = subprocess.run(command, env=without_our_code(environment), capture_output=True, text=True, check=False)
    assert "the model is not signed, and TRADEWIND_VERIFY_KEY asks for a signature" in said.stderr
