"""Where the blocks of preprocessing are worked on: in processes of this machine, or as tasks of a Ray cluster.

A block's work is a plain function of its arguments that writes files named after the block. So the bytes that come out
depend neither on the engine nor on the number of workers, and a run that was killed goes on at the blocks it lacks.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.config import Runtime
from pipeline.errors import BackendError, StoreError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting a process costs about as much as working on this much text.
BYTES_PER_WORKER = 16 * 2**20


class Engine(Protocol):
    """Applies functions to blocks."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the function's result for every item, in the order of the items."""


def make_engine(runtime: Runtime, workspace: Path, size: int) -> Engine:
    """Return the recipe's engine.

    Args:
        runtime: Runtime. Its `data_engine` and `data_workers`.
        workspace: Path. Folder that the blocks' work reads and writes.
        size: int. Bytes of text in all; little text is not worth many processes.

    Raises:
        BackendError: Ray is asked for and not installed, or no cluster answers.
        StoreError: a node of the cluster does not see the folder.
    """
    if runtime.data_engine == "ray":
        return RayEngine(workspace, runtime.data_workers)
    return LocalEngine(runtime.data_workers or min(len(os.sched_getaffinity(0)), 1 + size // BYTES_PER_WORKER))


class LocalEngine:
    """Processes of this machine.

    Args:
        workers: int. How many; with 1, the work is done in this process.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the function's result for every item, in the order of the items."""
        workers = min(self.workers, len(items))
        if workers <= 1:
            yield from map(function, items)
            return
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=workers, return_as="generator", pre_dispatch=2 * workers)
        yield from parallel(delayed(function)(item) for item in items)


class RayEngine:
    """Tasks on the Ray cluster of `RAY_ADDRESS`, or on one started on this machine.

    Every node needs this package, and the workspace at the same path.

    Args:
        workspace: Path. Folder that every node must see.
        workers: int. Most tasks at once; None for as many as the cluster has cores.
    """

    def __init__(self, workspace: Path, workers: int | None) -> None:
        try:
            import ray
        except ImportError as error:
            raise BackendError(
                "runtime.data_engine is ray, which is not installed; pip install 'tradewind[cluster]'"
            ) from error
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry leaves the machine
        try:
            ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError) as error:
            raise BackendError(
                f"runtime.data_engine is ray, and no cluster answers at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')!r}: "
                f"{error}. Start one (ray start --head), or unset RAY_ADDRESS to start one here"
            ) from error
        self.ray = ray
        self.workers = workers or int(ray.cluster_resources().get("CPU", 1))
        self._require_shared(workspace)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the function's result for every item, in the order of the items."""
        remote = self.ray.remote(num_cpus=1, max_retries=3)(function)
        waiting: list[Any] = []
        position = 0
        while waiting or position < len(items):
            while position < len(items) and len(waiting) < 2 * self.workers:
                waiting.append(remote.remote(items[position]))
                position += 1
            yield self.ray.get(waiting.pop(0))

    def _require_shared(self, workspace: Path) -> None:
        """Raise unless every node sees a file that this process has written."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        probe = workspace / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        try:
            look = self.ray.remote(num_cpus=0)(_exists)
            nodes = [node for node in self.ray.nodes() if node["Alive"]]
            seen = self.ray.get(
                [
                    look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                        str(probe)
                    )
                    for node in nodes
                ]
            )
        finally:
            probe.unlink(missing_ok=True)
        blind = [node["NodeManagerAddress"] for node, found in zip(nodes, seen, strict=True) if not found]
        if blind:
            raise StoreError(
                f"the Ray nodes {', '.join(blind)} do not see {workspace}; put the workspace on storage that every "
                "node mounts at the same path (TRADEWIND_WORKSPACE)"
            )


def _exists(path: str) -> bool:
    return Path(path).exists()
