"""A training as one MLflow run, over all its restarts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.registry import Mlflow
from pipeline.registry.reader import SqliteReader, sqlite_path
from pipeline.store.files import write_whole
from pipeline.tracking.point import Point, Status

MOST_METRICS, MOST_PARAMETERS = 1000, 100  # of one request
LONGEST_PARAMETER = 6000  # characters
PATIENCE = 20.0  # seconds for whoever holds the database
KEPT = "logs/mlflow_run.json"  # {"experiment_id", "run_id"}; the logs are no part of what an artifact is compared by


class MlflowRun:
    """Begins a run with the first figures, or goes on in the one that an interrupted process left.

    Figures of steps that are trained again after a restart are sent again; being exact, they are the same.

    Args:
        mlflow: Mlflow. Where to.
        experiment: str. The recipe's name.
        run_name: str. Such as `pretrain`.
        parameters: mapping. Sent once, when the run begins.
        memory: Path. File that holds the run's id until the training is finished; beside the checkpoints. Then
            `KEPT` beside it says which run it was.
    """

    name = "MLflow"
    interval = 5.0

    def __init__(
        self, mlflow: Mlflow, experiment: str, run_name: str, parameters: Mapping[str, Any], memory: Path
    ) -> None:
        self.mlflow = mlflow
        self.experiment = experiment
        self.run_name = run_name
        self.parameters = parameters
        self.memory = memory
        self._interrupted = memory.read_text().strip() if memory.exists() else None
        self._run_id: str | None = None

    def write(self, points: Sequence[Point]) -> None:
        """Send the points in as few requests as MLflow takes."""
        from mlflow.entities import Metric

        run_id = self._open()
        metrics = [
            Metric(name, value, round(point.seconds * 1000), point.step)
            for point in points
            for name, value in point.figures.items()
        ]
        for part in _parts(metrics, MOST_METRICS):
            self.mlflow.client.log_batch(run_id, metrics=part)

    def close(self, status: Status) -> None:
        """End the run; a finished one is not gone on with."""
        if self._run_id or self._interrupted:
            self.mlflow.client.set_terminated(self._open(), status)
        if status == "FINISHED":
            if self._run_id:
                self._keep(self._run_id)
            self.memory.unlink(missing_ok=True)

    def _keep(self, run_id: str) -> None:
        kept = self.memory.parent / KEPT
        kept.parent.mkdir(exist_ok=True)
        experiment = self.mlflow.client.get_run(run_id).info.experiment_id
        write_whole(kept, json.dumps({"experiment_id": experiment, "run_id": run_id}))

    def _open(self) -> str:
        if self._run_id is None:
            if path := sqlite_path(self.mlflow.uri):
                SqliteReader(
                    path, PATIENCE
                ).models()  # an unreadable database fails here, before MLflow retries for long
            with self.mlflow.lock():  # MLflow's client makes the tables of a new database
                self._run_id = self._again() or self._begin()
        return self._run_id

    def _again(self) -> str | None:
        """Return the interrupted run, at work again; None when there was none, or it has been deleted since."""
        from mlflow.exceptions import MlflowException

        if not self._interrupted:
            return None
        try:
            if self.mlflow.client.get_run(self._interrupted).info.lifecycle_stage != "active":
                return None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        self.mlflow.client.update_run(self._interrupted, status="RUNNING")
        return self._interrupted

    def _begin(self) -> str:
        from mlflow.entities import Param

        client = self.mlflow.client
        run_id = str(client.create_run(self.mlflow.experiment(self.experiment), run_name=self.run_name).info.run_id)
        self.memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.memory, run_id)
        parameters = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in self.parameters.items()]
        for part in _parts(parameters, MOST_PARAMETERS):
            client.log_batch(run_id, params=part)
        return run_id


def _parts(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (items[first : first + most] for first in range(0, len(items), most))
