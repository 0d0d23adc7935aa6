"""Where the blocks of preprocessing are worked on: in processes of this machine, or as tasks of a Ray cluster.

A block's work is a plain function of its arguments that writes files named after the block. So the bytes that come out
depend neither on the engine nor on the number of workers, and a run that was killed goes on at the blocks it lacks.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.cluster.ray.nodes import connect, probe_in, require_shared
from pipeline.config import Runtime
from pipeline.errors import Interrupted

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting a process costs about as much as working on this much text.
BYTES_PER_WORKER = 16 * 2**20


class Engine(Protocol):
    """Applies functions to blocks."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the function's result for every item, in the order of the items.

        Raises:
            Interrupted: a worker was killed.
            Exception: whatever the function raised, as it raised it.
        """


def make_engine(runtime: Runtime, workspace: Path, size: int) -> Engine:
    """Return the recipe's engine.

    Args:
        runtime: Runtime. Its `data_engine` and `data_workers`.
        workspace: Path. Folder that the blocks' work reads and writes.
        size: int. Bytes of text in all; little text is not worth many processes.

    Raises:
        BackendError: Ray is asked for and not installed, no cluster answers, or a node of it lacks this package.
        StoreError: a node of the cluster does not see the folder.
    """
    if runtime.data_engine == "ray":
        return RayEngine(workspace, runtime.data_workers)
    from joblib import cpu_count

    return LocalEngine(runtime.data_workers or min(cpu_count(), 1 + size // BYTES_PER_WORKER))


class LocalEngine:
    """Processes of this machine, which end when this one does.

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
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        parallel = Parallel(
            n_jobs=workers,
            return_as="generator",
            pre_dispatch=2 * workers,
            initializer=_end_with,
            initargs=(os.getpid(),),
        )
        try:
            yield from parallel(delayed(function)(item) for item in items)
        except TerminatedWorkerError as error:
            raise Interrupted(
                f"one of {workers} worker processes was killed ({_exit_codes(error)}), most likely because memory ran "
                "out. Run the same command again, which goes on where it stopped; if it happens again, set "
                "runtime.data_workers to fewer"
            ) from error


def _end_with(parent: int) -> None:
    """Let this worker process end with the process that started it, which it would outlive by minutes otherwise."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _exit_codes(error: Exception) -> str:
    found = re.search(r"exit codes of the workers are \{(.+)\}", str(error))
    return found[1] if found else "exit code unknown"


class RayEngine:
    """Tasks on the Ray cluster of `RAY_ADDRESS`, or on one started on this machine.

    Every node needs this package, and the workspace at the same path.

    Args:
        workspace: Path. Folder that every node must see.
        workers: int. Most tasks at once; None for as many as the cluster has cores.
    """

    def __init__(self, workspace: Path, workers: int | None) -> None:
        self.ray = connect(os.environ.get("RAY_ADDRESS", ""))
        # With two for each core, none waits for work while an earlier block's result is waited for.
        self.tasks = workers or 2 * max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        with probe_in(workspace) as probe:
            require_shared(self.ray, probe)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the function's result for every item, in the order of the items."""
        remote = self.ray.remote(num_cpus=1, max_retries=3)(_apply)
        shared = self.ray.put(function)  # sent to a node once, not with every item
        waiting: deque[Any] = deque()
        try:
            for item in items:
                if len(waiting) == self.tasks:
                    yield self._result(waiting.popleft())
                waiting.append(remote.remote(shared, item))
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            for task in waiting:
                self.ray.cancel(task)

    def _result(self, task: Any) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            return self.ray.get(task)
        except RayTaskError as error:
            raise error.cause from error  # Ray's own stand-in for it has no errno
        except RayError as error:
            raise Interrupted(
                f"a worker of the Ray cluster was lost four times on one block ({type(error).__name__}), most likely "
                "because its node ran out of memory. Run the same command again, which goes on where it stopped; if it "
                "happens again, start the nodes with fewer cores (ray start --num-cpus), or set runtime.data_workers"
            ) from error


def _apply(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)
