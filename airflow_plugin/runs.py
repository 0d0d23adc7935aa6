"""Which run of the store a DAG run is, and where the store is: known to its tasks and to Airflow's pages alike."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pipeline.config import Settings

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
