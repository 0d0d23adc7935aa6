"""A registry with models whose files are small stand-ins: nothing is trained for it."""

import json
from pathlib import Path

from pipeline.config import Settings
from pipeline.registry import Registry

MODEL = "tickets-team"
RECIPE = "tickets"


def export(folder: Path, accuracy: float, epochs: int, labels: list[str], verdict: str = "pass") -> Path:
    """Write what `publish` leaves of a model."""
    folder.mkdir(parents=True)
    files = {
        "bundle.json": {"kind": "classification", "labels": labels},
        "metrics.json": {"kind": "classification", "rows": 50, "accuracy": accuracy, "macro_f1": accuracy / 2},
        "gate.json": {"verdict": verdict, "reasons": [f"accuracy is {accuracy}."]},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "recipe.yaml").write_text(f"name: tickets\nepochs: {epochs}\n")
    (folder / "requirements.txt").write_text("keras==3.15.0\n")
    (folder / "MODEL_CARD.md").write_text("a card")
    return folder


def publish_two(workspace: Path, tags: dict[str, str] | None = None) -> Registry:
    """Publish two versions of one model; the second is the champion."""
    registry = Registry.for_workspace(Settings(workspace=workspace))
    for number, (accuracy, labels) in enumerate([(0.8, ["a", "b"]), (0.9, ["a", "c"])]):
        registry.publish(
            MODEL,
            export(workspace / f"export-{number}", accuracy, number + 1, labels),
            fingerprint=f"f{number}",
            publish_reference=f"publish/{number}",
            expected_champion=str(number) if number else None,
            tags={"run": f"tickets-{number}", "gate": "gate/123"} | (tags or {}),
            metrics={},
            params={},
            experiment=RECIPE,
        )
    return registry
