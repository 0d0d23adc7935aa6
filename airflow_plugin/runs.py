"""Which run of the store a DAG run is, and where its files are: known to its tasks and to Airflow's pages alike."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pipeline.config import Settings
from pipeline.store import Store
from pipeline.tracking.mlflow_run import KEPT

HOME = Path(__file__).resolve().parent.parent  # relative folders of the settings are relative to this one
LONGEST_RUN_ID = 180


def settings() -> Settings:
    """Return the settings with absolute folders: Airflow's processes do not start in the project's folder."""
    found = Settings()
    return found.model_copy(
        update={"workspace": (HOME / found.workspace).absolute(), "recipes": (HOME / found.recipes).absolute()}
    )


def record_of(dag_id: str, run_id: str) -> str:
    """Return the name of a DAG run's record: the same for every task and try of it, and for no other."""
    wanted = f"{dag_id}-{run_id}"
    allowed = re.sub(r"[^A-Za-z0-9_.~:+-]", "-", wanted)[:LONGEST_RUN_ID]
    if allowed == wanted:
        return wanted
    return f"{allowed}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def folders_of(dag_id: str, run_id: str) -> dict[str, Path]:
    """Return where the files of each node of a DAG run are: its artifact or, when it failed, where it was at work."""
    store, name = Store(settings().workspace), record_of(dag_id, run_id)
    nodes = store.runs.load(name)["nodes"] if store.runs.path(name).is_file() else {}
    places = {"reference": store.root / "artifacts", "partial": store.root / "partial"}
    return {
        node: place / entry[key] for key, place in places.items() for node, entry in nodes.items() if entry.get(key)
    }


def data_docs_of(dag_id: str, run_id: str) -> Path | None:
    """Return the page of what was checked of a run's data, when there is one."""
    return _file("data_docs/index.html", folders_of(dag_id, run_id).get("validate"))


def mlflow_run_of(dag_id: str, run_id: str, node: str) -> Path | None:
    """Return the file that says which MLflow run has the curves of a node, when there is one."""
    return _file(KEPT, folders_of(dag_id, run_id).get(node))


def _file(name: str, folder: Path | None) -> Path | None:
    return folder / name if folder and (folder / name).is_file() else None
