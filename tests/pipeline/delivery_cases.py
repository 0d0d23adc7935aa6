"""A registry with two small signed-off versions, and servers that stand in for hubs on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import yaml
from starlette.applications import Starlette

from pipeline.config import Settings
from pipeline.registry import Registry, Version

MODEL = "clinic-organ"
RECIPE = {
    "name": "clinic",
    "tasks": {"organ": {"data": {"source": "notes"}}},
    "publish": {"license": "apache-2.0"},
}
METRICS = {"task": "organ", "kind": "classification", "accuracy": 0.75, "macro_f1": 0.5}


def write_export(folder: Path, number: int) -> Path:
    """Write what an export has, with weights that a hub stores apart."""
    (folder / "reference").mkdir(parents=True)
    (folder / "model.keras").write_bytes(bytes([number]) * 5000)
    (folder / "bundle.json").write_text('{"kind": "classification", "labels": []}')
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (folder / "gate.json").write_text('{"verdict": "pass", "reasons": []}')
    (folder / "requirements.txt").write_text("keras==3.15.0\n")
    (folder / "MODEL_CARD.md").write_text(f"# {MODEL}\n\nThe card of number {number}.\n")
    (folder / "reference" / f"organ-{number}.json").write_text("{}")
    return folder


def publish(registry: Registry, export: Path, number: int) -> Version:
    return registry.publish(
        MODEL,
        export,
        fingerprint=f"f{number}",
        publish_reference=f"publish/{number}",
        expected_champion=str(number - 1) if number > 1 else None,
        tags={},
        metrics={},
        params={},
        experiment="clinic",
    )


def make_registry(workspace: Path) -> Registry:
    registry = Registry.for_workspace(Settings(workspace=workspace))
    for number in (1, 2):
        publish(registry, write_export(workspace / f"export-{number}", number), number)
    return registry


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    """Serve an application on a free port and hand out its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
