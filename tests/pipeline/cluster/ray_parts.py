"""Two Ray nodes on this machine, and a command for their processes that notes where it runs."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

# Ends as the first argument says the first time, and well the second time; `lost` never ends well.
PART = """
import json, os, signal, sys, time
from pathlib import Path
from pipeline.cluster.relay import LineProgress

folder, how = Path(sys.argv[1]), sys.argv[2]
number = os.environ["TRADEWIND_PROCESS_ID"]
attempt = len(list(folder.glob(f"*-{number}.json")))

def stopped(*_):
    (folder / f"saved-{attempt}-{number}").touch()
    sys.exit(75)

signal.signal(signal.SIGTERM, stopped)
facts = {key: value for key, value in os.environ.items() if key.startswith(("TRADEWIND", "RAY_RAYLET"))}
facts |= {"pid": os.getpid(), "parent": os.getppid(), "folder": os.getcwd()}
part = folder / f".{attempt}-{number}"
part.write_text(json.dumps(facts))
part.rename(folder / f"{attempt}-{number}.json")
LineProgress().say(f"process {number}, attempt {attempt}")
print(f"text of process {number}", flush=True)
if how == "wait" or (how == "sleep" and attempt == 0):
    while not (folder / "go").exists():
        time.sleep(0.05)
if how == "fail" and number == "1":
    sys.exit("row 7 is odd")
if how == "fail":
    time.sleep(600)
if how == "lost" or (how == "again" and attempt == 0):
    sys.exit(75)
LineProgress().update(1, 1, loss=0.5)
"""


@contextmanager
def two_nodes(folder: Path, **head: Any) -> Iterator[Any]:
    """Yield a cluster of two nodes with one core each, whose address is RAY_ADDRESS meanwhile."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.chdir(folder)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False} | head)
        nodes.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", nodes.address)
        try:
            yield nodes
        finally:
            nodes.shutdown()


def part(folder: Path, how: str) -> list[str]:
    """Return the command of a process that notes in a folder where it runs, and ends in some way."""
    script = folder / "part.py"
    script.write_text(PART)
    return [sys.executable, str(script), str(folder), how]


def noted(folder: Path, number: int, attempt: int = 0) -> dict[str, Any]:
    """Return what a process has noted, once it has."""
    file = folder / f"{attempt}-{number}.json"
    wait_for(file.exists)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def attempts(folder: Path) -> int:
    return max((int(file.name.split("-")[0]) + 1 for file in folder.glob("*-0.json")), default=0)


def running(folder: Path) -> list[psutil.Process]:
    """Return the processes that run the command in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and str(folder / "part.py") in words[:2] and str(folder) in words:
            found.append(process)
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found
