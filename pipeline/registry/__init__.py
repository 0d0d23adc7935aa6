"""The registry of proven models: who is champion, and the one way to become it."""

from pipeline.registry.client import Mlflow
from pipeline.registry.moves import CANDIDATE, CHAMPION, PREVIOUS, Move, promote, rollback
from pipeline.registry.registry import Registry
from pipeline.registry.version import Version

__all__ = ["CANDIDATE", "CHAMPION", "PREVIOUS", "Mlflow", "Move", "Registry", "Version", "promote", "rollback"]
