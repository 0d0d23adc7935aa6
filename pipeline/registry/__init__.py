"""The registry of proven models: who is champion, and the one way to become it."""

from pipeline.registry.client import Mlflow
from pipeline.registry.registry import CHAMPION, PREVIOUS, Registry, Version

__all__ = ["CHAMPION", "PREVIOUS", "Mlflow", "Registry", "Version"]
