"""The connection to MLflow that the registry and the tracking of trainings share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.registry.reader import sqlite_path

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # else a `uv.lock` in the working folder would be stored with the model
    "GIT_PYTHON_REFRESH": "quiet",
}
HTTP_RETRIES = "2"  # MLflow's own seven take four minutes to say that a server is down


class Mlflow:
    """An MLflow address; nothing is imported or opened before it is used.

    Args:
        uri: MLflow address; `sqlite:///<absolute path>` needs no server.
        artifact_root: folder for the files of a SQLite address, and for the lock.

    """

    def __init__(self, uri: str, artifact_root: Path) -> None:
        self.uri = uri
        self.artifact_root = artifact_root.absolute()

    @cached_property
    def client(self) -> Any:
        """MLflow's own client."""
        if path := sqlite_path(self.uri):
            path.parent.mkdir(parents=True, exist_ok=True)
        return _quiet_mlflow().MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made when there is none; call it under the lock."""
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        root = str(self.artifact_root / name) if sqlite_path(self.uri) else None
        return str(self.client.create_experiment(name, artifact_location=root))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time create tables and move aliases: MLflow has no compare-and-set."""
        self.artifact_root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.artifact_root / "publish.lock"):
            yield


def _quiet_mlflow() -> Any:
    os.environ.update(QUIET)  # before the import: it reads telemetry's switch as it loads
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", HTTP_RETRIES)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Database errors are raised as well; logged with a traceback they would be told twice.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return mlflow
