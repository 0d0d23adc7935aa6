"""What a Ray job runs: `python -m pipeline.cluster.ray.job SPEC`, with a `Spec` as JSON.

Its output is the lines of process 0, and at last one that tells why it failed. Exit status 0: done; 75: interrupted,
another job goes on from the last checkpoint; 1: an error that would come again.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from pipeline.cluster.local import RETRY, run_processes
from pipeline.cluster.ray.group import Group, Spec
from pipeline.cluster.ray.nodes import load_ray, require_shared
from pipeline.cluster.relay import LineProgress, said
from pipeline.errors import Interrupted, StoreError, TradewindError

FAULT = "\x1d"  # begins the line that tells why the job failed


def main() -> None:
    """Run the job that the command line describes."""
    spec, stop = Spec(**json.loads(sys.argv[1])), Event()
    ray = load_ray("runtime.launcher")
    try:
        if not spec.processes:
            _run_alone(spec)
            return
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
        for number in (signal.SIGTERM, signal.SIGINT):  # after Ray, which would end this process at once
            signal.signal(number, lambda *_: stop.set())
        run_job(ray, spec, _print, stop)
    except TradewindError as error:
        _print(FAULT + json.dumps(str(error)))
        sys.exit(RETRY if isinstance(error, Interrupted) else 1)
    except Exception as error:
        _print(FAULT + json.dumps("".join(traceback.format_exception(error))))
        sys.exit(1)


def run_job(ray: Any, spec: Spec, tell: Callable[[str], object], stop: Event) -> None:
    """Run the processes on the cluster that is connected.

    Raises:
        Interrupted: stopped, or lost too often.
        BackendError: a node lacks this package, or the cluster is too small.
        StoreError: a node does not see the workspace.
        TradewindError: a process failed.
    """
    require_shared(ray, Path(spec.probe))
    gpus = ray.cluster_resources().get("GPU", 0)
    if gpus and not spec.gpus:
        tell(said(f"the Ray cluster has {gpus:.0f} GPUs and none is used; set runtime.ray.gpus_per_process"))
    Group(ray, spec, tell, stop).run()


def _run_alone(spec: Spec) -> None:
    """Run one process beside this one, which connects to the cluster by itself (Ray has set RAY_ADDRESS)."""
    if not Path(spec.probe).exists():
        raise StoreError(
            f"the Ray cluster's head does not see {Path(spec.probe).parent}; put the workspace on storage that every "
            "node mounts at the same path (TRADEWIND_WORKSPACE)"
        )
    run_processes([sys.executable, *spec.arguments], 1, os.environ, LineProgress())


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
