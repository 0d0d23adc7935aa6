"""The registry as a page shows it: every version with its verdict and figures, and how the champion has moved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import PublishError
from pipeline.judge.names import HEADLINES, MAIN, PLAIN
from pipeline.registry.moves import CHAMPION, PREVIOUS, Move, moves_of
from pipeline.registry.reader import Record
from pipeline.registry.registry import Registry
from pipeline.registry.version import PREFIX


@dataclass(frozen=True)
class Entry:
    """One version.

    Attributes:
        version: str. Its number.
        aliases: tuple of str. Such as `champion`.
        created: str. ISO 8601, UTC.
        tags: mapping of str to str. Of the registry, names without the `tradewind.` prefix.
        kind: str. Of its task; empty when its files are gone.
        verdict: str. The gate's; empty when its files are gone.
        reasons: list of str. Of the verdict.
        figures: dict of str to float. Headline metrics on its own test rows, in the order of their kind.
        lost: str. What is wrong with its files; empty when nothing is.
    """

    version: str
    aliases: tuple[str, ...]
    created: str
    tags: Mapping[str, str]
    kind: str = ""
    verdict: str = ""
    reasons: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    lost: str = ""


@dataclass(frozen=True)
class Overview:
    """One model: its versions and moves, newest first, and the two figures that its kind is best known by."""

    name: str
    entries: list[Entry]
    moves: list[Move]

    @property
    def champion(self) -> Entry | None:
        """The version that serves."""
        return next((entry for entry in self.entries if CHAMPION in entry.aliases), None)

    @property
    def previous(self) -> Entry | None:
        """The version that a rollback lets serve again."""
        return next((entry for entry in self.entries if PREVIOUS in entry.aliases), None)

    @property
    def recipe(self) -> str:
        """The recipe that made it, which is the name of its DAG."""
        return next((entry.tags["recipe"] for entry in self.entries if "recipe" in entry.tags), "")

    @property
    def metrics(self) -> list[str]:
        """The names of its best-known figures."""
        kind = next((entry.kind for entry in self.entries if entry.kind), "")
        return list(dict.fromkeys((MAIN[kind], PLAIN[kind]))) if kind in MAIN else []

    def history(self) -> dict[str, list[tuple[float, float]]]:
        """Return metric -> [(version, value)], oldest first."""
        return {
            name: [(float(entry.version), entry.figures[name]) for entry in self.entries[::-1] if name in entry.figures]
            for name in self.metrics
        }


def overview(registry: Registry) -> list[Overview]:
    """Return every model that has a champion, by name. Raises PublishError: unreadable registry."""
    found = []
    for name in registry.models():
        records = registry.records(name)
        entries = [_entry(registry, name, record) for record in reversed(records)]
        found.append(Overview(name, entries, moves_of(records)[::-1]))
    return found


def _entry(registry: Registry, model: str, record: Record) -> Entry:
    created = datetime.fromtimestamp(record.created / 1000, UTC).isoformat(timespec="seconds")
    tags = {name.removeprefix(PREFIX): value for name, value in record.tags.items()}
    try:
        bundle = registry.version(model, record.version).bundle
        gate, metrics = _read(bundle / "gate.json"), _read(bundle / "metrics.json")
    except (PublishError, OSError, ValueError) as error:
        return Entry(record.version, record.aliases, created, tags, lost=str(error))
    kind = metrics.get("kind", "classification")  # the one kind there was before it was told
    named = {name: metrics.get(name) for name in HEADLINES.get(kind, ())}
    figures = {name: float(value) for name, value in named.items() if value is not None}
    return Entry(record.version, record.aliases, created, tags, kind, gate["verdict"], gate.get("reasons", []), figures)


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found
