"""The store: the only part that knows where artifacts live. It runs a step once per fingerprint."""

from pipeline.store.fingerprint import Factors, source_hash
from pipeline.store.runs import Runs
from pipeline.store.store import Artifact, Store
from pipeline.store.view import View

__all__ = ["Artifact", "Factors", "Runs", "Store", "View", "source_hash"]
