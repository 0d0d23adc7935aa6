"""What a Ray job runs: `python -m pipeline.cluster.ray.job SPEC`, with a `Spec` as JSON.

Its output is the lines of process 0, and at last one that tells why it failed. Exit status 0: done; 75: interrupted,
another job goes on from the last checkpoint; 1: an error that would come again.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from pipeline.cluster.local import RETRY
from pipeline.cluster.ray.group import Group, Spec
from pipeline.cluster.ray.nodes import load_ray, require_shared
from pipeline.cluster.relay import said
from pipeline.errors import Interrupted, TradewindError

FAULT = "\x1d"  # begins the line that tells why the job failed


def main() -> None:
    """Run the job that the command line describes."""
    spec, stop = Spec(**json.loads(sys.argv[1])), Event()
    ray = load_ray("runtime.launcher")
    try:
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


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
