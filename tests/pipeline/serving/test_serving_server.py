"""The command in a process of its own: it follows the alias and stops without a lost answer, and says what it lacks."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import typer
from serving_parts import publish
from tiny_bundle import TEXTS, make_bundle
from typer.testing import CliRunner

from pipeline.cli import serve as command
from pipeline.config import Settings
from pipeline.errors import StoreError, TradewindError
from pipeline.registry import CHAMPION, Registry

ROOT = Path(__file__).parents[3]
MODEL = "clinic-organ"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions; the first is the champion."""
    workspace = tmp_path_factory.mktemp("workspace")
    registry = Registry.for_workspace(Settings(workspace=workspace))
    for seed, expected in ((0, None), (1, "1")):
        publish(registry, make_bundle(tmp_path_factory.mktemp("bundle") / f"export{seed}", seed), expected, MODEL)
    registry._client.set_registered_model_alias(MODEL, CHAMPION, "1")
    return workspace


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_alias_moves_and_sigterm_under_load_lose_no_request(workspace: Path, tmp_path: Path) -> None:
    port = free_port()
    options = ["--port", str(port), "--interval", "0.2", "--max-batch", "8", "--max-texts", "4", "--access-log"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "serve", MODEL, *options],
            env=os.environ | {"TRADEWIND_WORKSPACE": str(workspace), "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    answered: list[tuple[int, str]] = []
    failed: list[str] = []

    def client(number: int) -> None:
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as session:
            while True:
                try:
                    response = session.post("/predict", json={"texts": [TEXTS[number]]})
                except httpx.HTTPError as error:
                    failed.append(repr(error))
                    return
                answered.append((response.status_code, response.json().get("version")))
                if response.headers.get("connection") == "close":  # the server goes: a balancer asks another one now
                    return

    try:
        wait_for(lambda: httpx.get(f"{address}/readyz", trust_env=False).status_code == 200, process)
        threads = [threading.Thread(target=client, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        wait_for(lambda: (200, "1") in answered, process)
        registry = Registry.for_workspace(Settings(workspace=workspace))
        registry._client.set_registered_model_alias(MODEL, CHAMPION, "2")
        wait_for(lambda: (200, "2") in answered, process)
        process.send_signal(signal.SIGTERM)
        assert httpx.get(f"{address}/readyz", trust_env=False).status_code == 503
        for thread in threads:
            thread.join(30)
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
    assert failed == []
    assert set(answered) == {(200, "1"), (200, "2")}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert sum(line["path"] == "/predict" for line in lines) == len(answered)
    assert {line["version"] for line in lines if line["path"] == "/predict"} == {"1", "2"}


def wait_for(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within two minutes; the server's status is {process.poll()}")


@pytest.fixture
def run(workspace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(workspace))
    app = typer.Typer()
    app.callback()(lambda: None)  # without it, typer makes the only command the whole application
    command.register(app)
    return lambda *arguments: CliRunner().invoke(app, ["serve", *map(str, arguments)]).exception


def test_what_cannot_be_served_is_told_before_anything_is_loaded(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.bundle.Bundle.load", lambda _: pytest.fail("loaded"))
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "foreign").write_text("Geheimniß\n", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cases = [
            (["clinic-orgn"], StoreError, "did you mean 'clinic-organ'"),
            ([f"{MODEL}@nobody"], StoreError, "leave it out for the champion: tradewind serve clinic-organ"),
            (["--port", taken.getsockname()[1]], TradewindError, "Address already in use; choose another: tradewind"),
            (["--host", "203.0.113.7"], TradewindError, "203.0.113.7 port 8000 cannot be used"),
            (["--rate", "often"], TradewindError, "--rate is 'often'; expected a number of requests in a time"),
            (["--max-texts", "65"], TradewindError, "more than the 64 texts of --max-batch"),
            (["--queue", "63"], TradewindError, "less than the 64 texts of --max-batch"),
            (["--token-file", tmp_path / "empty"], TradewindError, "holds no token; expected one a line"),
            (["--token-file", tmp_path / "foreign"], TradewindError, "characters beyond ASCII"),
            (["--token-file", tmp_path / "none"], TradewindError, "none cannot be read"),
        ]
        for arguments, kind, message in cases:
            error = run(*arguments)
            assert isinstance(error, kind), (arguments, error)
            assert message in str(error)


def test_nothing_published_says_how_to_publish(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(tmp_path / "new"))
    assert "no model is published yet" in str(run())
    assert not (tmp_path / "new").exists()
