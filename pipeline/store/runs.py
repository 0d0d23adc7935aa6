"""The record of each run: which artifact every node of the flow got. `runs/<run_id>.json`, one file per run."""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.store.files import told, write_whole
from pipeline.store.locks import hold

RUN_ID = re.compile(r"[A-Za-z0-9_~+][A-Za-z0-9_.~:+-]*")


class Runs:
    """Run records, safe for many processes: every change happens under the run's lock and replaces the whole file.

    A record is {run_id, recipe, recipe_name, created, trigger, dates, nodes, outcome}; `nodes` maps a node (`pretrain`,
    `finetune.chapter`) to {reference, hit, seconds, status} or, when it failed, {status, error, partial?}: where it was
    at work, below `partial/`. An `outcome` is running, succeeded or failed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "runs"

    def create(
        self,
        run_id: str,
        recipe: Mapping[str, Any],
        *,
        recipe_name: str | None = None,
        trigger: str = "manual",
        dates: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Start the record of a run, or return to the one that exists (a retry); `recipe` holds its full values.

        Raises StoreError when the run exists with another recipe, or when `run_id` cannot name a file.
        """
        plain = _plain(dict(recipe), f"the recipe of run {run_id}")

        def start(record: dict[str, Any] | None) -> dict[str, Any]:
            if record is not None and record["recipe"] != plain:
                raise StoreError(
                    f"run {run_id} exists with other recipe values; a run has one recipe, so start a new run "
                    "(or give the first values again to resume this one)"
                )
            return {
                "run_id": run_id,
                "recipe": plain,
                "recipe_name": recipe_name or str(recipe.get("name", "")),
                "created": datetime.now(UTC).isoformat(timespec="microseconds"),
                "trigger": trigger,
                "dates": dict(dates or {}),
                "nodes": {},
                **(record or {}),
                "outcome": "running",
            }

        return self._change(run_id, start)

    def record(self, run_id: str, node: str, entry: Mapping[str, Any]) -> None:
        """Set what `node` of the run got; replaces an earlier entry of the node. Raises StoreError for no such run."""
        plain = _plain(dict(entry), f"the entry of node {node}")
        self._change(run_id, lambda record: _with_node(self._known(run_id, record), node, plain))

    def finish(self, run_id: str, outcome: str) -> None:
        """Set the outcome of the run, and when. Raises StoreError for no such run."""
        finished = datetime.now(UTC).isoformat(timespec="microseconds")
        self._change(run_id, lambda record: self._known(run_id, record) | {"outcome": outcome, "finished": finished})

    def load(self, run_id: str) -> dict[str, Any]:
        """Return the record of a run. Raises StoreError for no such run."""
        return self._known(run_id, self._read(self.path(run_id)))

    def list(self) -> list[dict[str, Any]]:
        """Return all records, newest first."""
        records = [record for path in self._folder.glob("*.json") if (record := self._read(path))]
        return sorted(records, key=lambda record: (record["created"], record["run_id"]), reverse=True)

    def of(self, reference: str) -> builtins.list[dict[str, Any]]:
        """Return the runs, newest first, of which some node got the artifact `step/fingerprint`."""
        return [record for record in self.list() if reference in references(record)]

    def that_finished(self, reference: str) -> builtins.list[str]:
        """Return the ids of the runs, newest first, of which a node was given the finished artifact."""
        return [
            record["run_id"]
            for record in self.list()
            for entry in record["nodes"].values()
            if entry.get("reference") == reference and entry.get("status") not in ("running", "failed")
        ]

    def _change(self, run_id: str, change: Callable[[dict[str, Any] | None], dict[str, Any]]) -> dict[str, Any]:
        path = self.path(run_id)
        with told(self._root):
            self._folder.mkdir(parents=True, exist_ok=True)
            with hold(self._root / "locks" / "runs" / f"{run_id}.lock", f"the record of run {run_id}", _silent):
                record = change(self._read(path))
                write_whole(path, json.dumps(record, indent=2, allow_nan=False) + "\n")
        return record

    def path(self, run_id: str) -> Path:
        """Return the file of a record. Raises StoreError when `run_id` cannot name one."""
        if not RUN_ID.fullmatch(run_id) or len(run_id) > 200:
            raise StoreError(
                f"{run_id!r} cannot be a run id; it has up to 200 letters, digits and _ . ~ : + -, and does not start "
                "with a dot or dash"
            )
        return self._folder / f"{run_id}.json"

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(f"{path} is not a run record ({error}); repair it or delete it") from error
        return record

    def _known(self, run_id: str, record: dict[str, Any] | None) -> dict[str, Any]:
        if record is None:
            raise StoreError(f"no run {run_id} in {self._root}; `tradewind runs` lists the runs")
        return record


def references(record: Mapping[str, Any]) -> set[str]:
    """Return the artifacts (`step/fingerprint`) that the nodes of a run got."""
    return {str(entry["reference"]) for entry in record["nodes"].values() if entry.get("reference")}


def _with_node(record: dict[str, Any], node: str, entry: dict[str, Any]) -> dict[str, Any]:
    return record | {"nodes": record["nodes"] | {node: entry}}


def _plain(value: dict[str, Any], subject: str) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StoreError(f"{subject} is not plain JSON ({error}); use strings, finite numbers, lists, dicts") from error
    return plain


def _silent(text: str) -> None:
    """Say nothing: the lock of a record is held for milliseconds."""
