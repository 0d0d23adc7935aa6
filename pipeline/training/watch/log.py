"""The metrics log: one JSON line per report, per validation and per rollback, each with its `step`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.store.files import write_whole


class MetricsLog:
    """A file of JSON lines that tells one history: what comes after a step is dropped when training goes back there.

    Args:
        path: Path. The file.
        writes: bool. Whether this process writes it; of several, one does and the others read.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes

    def go_back(self, step: int) -> None:
        """Drop the lines after `step`, and what a killed process left of one."""
        if not self.writes:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in self._lines() if line["step"] <= step]
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line."""
        if not self.writes:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def validation(self, step: int) -> dict[str, float] | None:
        """Return the validation after `step` updates; None when it has not been made."""
        for line in self._lines():
            if line["step"] == step and "validation_loss" in line:
                return {"loss": line["validation_loss"], "accuracy": line["validation_accuracy"]}
        return None

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
