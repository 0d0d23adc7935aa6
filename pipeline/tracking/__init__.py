"""The figures of a training, sent while it runs to TensorBoard files and to MLflow; training never waits for either."""

from pipeline.tracking.background import Background
from pipeline.tracking.mlflow_run import MlflowRun
from pipeline.tracking.point import Point, Sink
from pipeline.tracking.tensorboard import TensorBoard
from pipeline.tracking.tracking import Run, TrackedProgress, tracking

__all__ = ["Background", "MlflowRun", "Point", "Run", "Sink", "TensorBoard", "TrackedProgress", "tracking"]
