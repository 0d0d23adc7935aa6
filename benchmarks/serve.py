"""Requests a second and their latency: `tradewind serve` against `mlflow models serve` and a Hugging Face pipeline.

    python benchmarks/serve.py --model icd10-chapter [--seconds 10] [--clients 1 8 64] [--servers ours mlflow]
    python benchmarks/serve.py --model icd10-chapter --soak 600

`ours-onnx` and `ours-onnx_int8` are ours with `--format`, of a version that has it.

All on loopback and one text a request, from a load generator in a process of its own: so many clients, each of which
asks again as soon as it is answered. Ours and MLflow's answer with the same registered version; the peer `huggingface`
(needs transformers and torch) is a BERT classifier of the same width, depth and vocabulary, with random weights, whose
`pipeline` stands behind FastAPI as its documentation shows it. Every server starts anew and is warmed up.

`--soak`: 64 clients ask two of our servers; a third into the time a second version is published, two thirds into it one
server gets SIGTERM and another takes its port. Prints whatever was not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import Settings
from pipeline.integrity import SEALS
from pipeline.registry import CHAMPION, Registry, Version

ROOT = Path(__file__).parents[1]
PORT = 8391
WARM_SECONDS = 3.0
READY_SECONDS = 180
SERVERS = {"ours": ("/predict", "/readyz", "texts"), "mlflow": ("/invocations", "/ping", "inputs")}
SERVERS |= dict.fromkeys(("huggingface", "ours-onnx", "ours-onnx_int8"), SERVERS["ours"])
TEXTS = [
    f"{kind} of {side} {bone}, {visit}"
    for kind in ("Displaced fracture", "Nondisplaced fracture", "Contusion", "Osteomyelitis", "Burn of second degree")
    for side in ("left", "right", "unspecified")
    for bone in ("wrist", "femur", "ulna", "shoulder", "index finger")
    for visit in ("initial encounter for closed fracture", "subsequent encounter", "sequela")
]


def main() -> None:
    """Measure, soak, or be one of the processes of either."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="published model; its champion answers")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=["ours", "mlflow"])
    parser.add_argument("--soak", type=float, metavar="SECONDS")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--huggingface", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        print(json.dumps(asyncio.run(load(**json.loads(arguments.load)))))
    elif arguments.huggingface:
        serve_huggingface(Path(arguments.huggingface))
    elif arguments.soak:
        soak(find_champion(arguments.model), arguments.soak)
    else:
        compare(find_champion(arguments.model), arguments.servers, arguments.clients, arguments.seconds)


def compare(version: Version, servers: list[str], clients: list[int], seconds: float) -> None:
    """Print a line for each server and number of clients, and our ratio to the best of the others."""
    rates: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        registry = publish_anew(version, Path(folder))
        for name in servers:
            if name == "huggingface" and not all(map(importlib.util.find_spec, ("transformers", "torch"))):
                print("huggingface: transformers and torch are not installed; left out")
                continue
            with started(name, version, PORT, registry):
                run_load(name, [PORT], 8, WARM_SECONDS)
                for number in clients:
                    said = run_load(name, [PORT], number, seconds)
                    rates[name, number] = said["rate"]
                    print(
                        f"{name:<12} {number:>3} clients  {said['rate']:8.1f} requests/s  p50 {said['p50']:8.2f} ms  "
                        f"p99 {said['p99']:8.2f} ms  {len(said['errors'])} errors {said['errors'][:2]}",
                        flush=True,
                    )
    for number in clients:
        others = [rate for (name, count), rate in rates.items() if count == number and not name.startswith("ours")]
        if others and ("ours", number) in rates:
            print(f"{number} clients: ours answers {rates['ours', number] / max(others):.1f} times the better other")


def soak(version: Version, seconds: float) -> None:
    """Print what was not answered under load while the alias moves and a server stops."""
    with tempfile.TemporaryDirectory() as folder:
        registry = publish_anew(version, Path(folder))
        with started("ours", version, PORT, registry), started("ours", version, PORT + 1, registry) as second:
            replaced: list[subprocess.Popen[bytes]] = []

            def replace() -> None:
                second.send_signal(signal.SIGTERM)
                second.wait()
                replaced.append(start("ours", version, PORT + 1, registry))

            threading.Timer(seconds / 3, publish, (registry, version, "second")).start()
            threading.Timer(seconds * 2 / 3, replace).start()
            said = run_load("ours", [PORT, PORT + 1], 64, seconds)
            for process in replaced:
                stop(process)
    print(
        f"{said['answered']} answered at {said['rate']:.1f}/s by versions {said['versions']}, p99 {said['p99']:.1f} ms"
    )
    print(
        f"the stopped server ended with status {second.returncode}; {len(said['errors'])} errors {said['errors'][:5]}"
    )


def publish_anew(version: Version, workspace: Path) -> Registry:
    """Return a registry of its own in which the same bundle is published with today's code, which MLflow runs."""
    registry = Registry.for_workspace(Settings(workspace=workspace, registry=None))
    publish(registry, version, "first")
    return registry


def publish(registry: Registry, version: Version, name: str) -> None:
    """Make the bundle the champion, once more."""
    champion = registry.champion(version.name)
    with tempfile.TemporaryDirectory() as folder:
        export = shutil.copytree(version.bundle, Path(folder) / "export", ignore=shutil.ignore_patterns(*SEALS))
        registry.publish(
            version.name,
            export,
            fingerprint=name,
            publish_reference=name,
            expected_champion=champion.version if champion else None,
            tags={},
            metrics={},
            params={},
            experiment="benchmark",
        )


def find_champion(model: str | None) -> Version:
    """Return the champion of a model in the workspace."""
    from pipeline.predict import find_model

    return find_model(Registry.for_workspace(Settings()), model)


@contextmanager
def started(name: str, version: Version, port: int, registry: Registry) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends."""
    process = start(name, version, port, registry)
    try:
        wait_ready(process, f"http://127.0.0.1:{port}{SERVERS[name][1]}")
        yield process
    finally:
        stop(process)


def start(name: str, version: Version, port: int, registry: Registry) -> subprocess.Popen[bytes]:
    """Start a server; its output goes to a file in the temporary folder."""
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_TRACKING_URI": registry.uri,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TRADEWIND_WORKSPACE": str(registry.artifact_root.parent),
    }
    if name == "mlflow":
        environment.pop("PYTHONPATH", None)  # it brings the code that was published with the version
        model = f"models:/{version.name}@{CHAMPION}"
        command = ["-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", str(port)]
    else:
        environment["PYTHONPATH"] = str(ROOT)
        command = ["-m", "pipeline.cli", "serve", version.name, "--port", str(port), "--interval", "1"]
        command += ["--format", name.removeprefix("ours-")] if name.startswith("ours-") else []
        if name == "huggingface":
            command = [__file__, "--huggingface", str(version.bundle)]
    with (Path(tempfile.gettempdir()) / f"serve-benchmark-{name}-{port}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *command], env=environment, stdout=log, stderr=log, start_new_session=True
        )


def wait_ready(process: subprocess.Popen[bytes], address: str) -> None:
    """Return as soon as the server answers."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{address} does not answer; its log is in {tempfile.gettempdir()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server with all its processes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run_load(name: str, ports: list[int], clients: int, seconds: float) -> dict:
    """Return what the load generator saw."""
    path, _, key = SERVERS[name]
    asked = {
        "urls": [f"http://127.0.0.1:{port}{path}" for port in ports],
        "key": key,
        "clients": clients,
        "seconds": seconds,
    }
    process = subprocess.run(
        [sys.executable, __file__, "--load", json.dumps(asked)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(process.stdout)


async def load(urls: list[str], key: str, clients: int, seconds: float) -> dict:
    """Ask from so many clients; who finds no server listening goes to the next one, as a balancer would."""
    import aiohttp

    latencies: list[float] = []
    errors: list[str] = []
    versions: set[str] = set()
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        turn = number
        while (begin := time.perf_counter()) < end:
            try:
                body = {key: [TEXTS[turn % len(TEXTS)]]}
                async with session.post(urls[number % len(urls)], json=body) as response:
                    said = await response.json()
                    if response.status != 200:
                        errors.append(f"{response.status}: {said}")
                    versions.add(str(said.get("version")))
                latencies.append(time.perf_counter() - begin)
                turn += clients
            except aiohttp.ClientConnectorError as error:
                if len(urls) == 1:
                    errors.append(repr(error))
                number += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                errors.append(repr(error))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        start = time.perf_counter()
        await asyncio.gather(*map(client, range(clients)))
        took = time.perf_counter() - start
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    return {
        "answered": len(latencies),
        "rate": len(latencies) / took,
        "p50": cuts[49] * 1000,
        "p99": cuts[98] * 1000,
        "versions": sorted(versions),
        "errors": errors,
    }


def serve_huggingface(bundle: Path) -> None:
    """Serve a random BERT classifier of the bundle's size behind FastAPI, one request at a time."""
    import uvicorn
    from fastapi import FastAPI
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, pipeline

    from pipeline.backend import select_backend

    select_backend("torch")
    from pipeline.bundle import Bundle

    ours = Bundle.load(bundle)
    size = ours.model.encoder.get_config()
    vocabulary = ours.encoder.vocabulary
    config = BertConfig(
        vocab_size=ours.tokenizer.get_vocab_size(),
        hidden_size=size["hidden_dim"],
        num_hidden_layers=size["num_layers"],
        num_attention_heads=size["num_heads"],
        intermediate_size=size["feedforward_dim"],
        num_labels=len(ours.labels),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=ours.tokenizer,
        model_max_length=ours.sequence_length,
        pad_token=ours.tokenizer.id_to_token(vocabulary.pad),
    )
    answer = pipeline("text-classification", model=BertForSequenceClassification(config).eval(), tokenizer=tokenizer)
    app = FastAPI()

    @app.get("/readyz")
    def readyz() -> dict:
        return {}

    @app.post("/predict")
    def predict(question: dict) -> dict:
        return {"answers": answer(question["texts"], truncation=True)}

    uvicorn.run(app, port=PORT, log_level="warning")


if __name__ == "__main__":
    main()
