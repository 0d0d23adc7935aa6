"""The metrics log: one JSON line per report, per validation and per rollback, each with its `step`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.store.files import write_whole

VALIDATION = "validation_"


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

    def validations(self) -> dict[int, dict[str, float]]:
        """Return all validations by their step, oldest first."""
        found = {}
        for line in self._lines():
            if "validation_loss" in line:
                pairs = line.items()
                found[line["step"]] = {n.removeprefix(VALIDATION): v for n, v in pairs if n.startswith(VALIDATION)}
        return found

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
