"""The nodes of a Ray cluster: connecting to them, and what all of them must have before work is sent there."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import BackendError, StoreError

# A cluster that does not take up a connection in this time is not there; Ray itself tries for minutes.
CONNECT_SECONDS = 5.0
NOTICE_SECONDS = 60.0  # in which a cluster has noticed that a node is gone
ADDRESS = re.compile(r"(?:(?P<scheme>\w+)://)?(?P<host>[^/]+?)(?::(?P<port>\d+))?/?")
PORTS = {"http": 80, "https": 443, "ray": 10_001}


def load_ray(key: str) -> Any:
    """Return the module `ray`; telemetry is off.

    Args:
        key: str. The recipe's value that asks for it, for the error.

    Raises:
        BackendError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is loaded: no telemetry leaves the machine
    try:
        import ray
    except ImportError as error:
        raise BackendError(f"{key} is ray, which is not installed; pip install 'tradewind[cluster]'") from error
    return ray


def connect(address: str) -> Any:
    """Return the module `ray`, connected to the cluster at RAY_ADDRESS, or to one started here.

    Raises:
        BackendError: it is not installed, or no cluster answers at the address.
    """
    ray = load_ray("runtime.data_engine")
    try:
        if not ray.is_initialized():
            reach(address)
            ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError) as error:
        raise BackendError(
            f"runtime.data_engine is ray, and no cluster answers at RAY_ADDRESS={address!r}: {error}. Start one (ray "
            "start --head), or unset RAY_ADDRESS to start one here"
        ) from error
    return ray


def reach(address: str) -> None:
    """Raise OSError unless something takes up a connection at the address within seconds; names are not looked at."""
    found = ADDRESS.fullmatch(address)
    if found and (port := found["port"] or PORTS.get(found["scheme"] or "")):
        socket.create_connection((found["host"].strip("[]"), int(port)), CONNECT_SECONDS).close()


@contextmanager
def probe_in(workspace: Path) -> Iterator[Path]:
    """Yield a file that is in the workspace during the block, for the nodes to look for."""
    probe = workspace.absolute() / f".probe-{uuid.uuid4().hex}"
    probe.touch()
    try:
        yield probe
    finally:
        probe.unlink(missing_ok=True)


def require_shared(ray: Any, probe: Path) -> None:
    """Raise unless every node that works has this package and sees a file of the workspace.

    Args:
        ray: module. Connected.
        probe: Path. A file that another machine has written into the workspace.

    Raises:
        BackendError: a node lacks this package.
        StoreError: a node does not see the file.
    """
    seen = _seen_by_nodes(ray, probe)
    if lacking := {name: fault for name, (_, fault) in seen if fault}:
        raise BackendError(
            f"the Ray nodes {', '.join(lacking)} cannot load this package: {next(iter(lacking.values()))}. Install "
            "the same version of it on every node (pip install 'tradewind[cluster]')"
        )
    if blind := [name for name, (found, _) in seen if not found]:
        raise StoreError(
            f"the Ray nodes {', '.join(blind)} do not see {probe.parent}; put the workspace on storage that every "
            "node mounts at the same path (TRADEWIND_WORKSPACE)"
        )


def _seen_by_nodes(ray: Any, probe: Path) -> list[tuple[str, tuple[bool, str]]]:
    """Return, with the name of every node, whether it sees the file, and what keeps it from loading this package."""
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look(path: str) -> tuple[bool, str]:
        """Sent as code, not by name: this is what runs where the package is not."""
        try:
            import pipeline.cluster.ray.nodes  # noqa: F401
        except ImportError as error:
            return False, str(error)
        return Path(path).exists(), ""

    remote = ray.remote(num_cpus=0)(look)
    end = time.monotonic() + NOTICE_SECONDS
    while True:
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        names = [node["NodeManagerAddress"] for node in nodes]
        places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        try:
            seen = ray.get([remote.options(scheduling_strategy=place).remote(str(probe)) for place in places])
            return list(zip(names, seen, strict=True))
        except RayError as error:
            if time.monotonic() > end:
                raise BackendError(
                    f"not all Ray nodes of {', '.join(names)} answer: {error}. Wait until the cluster is whole (ray "
                    "status), or take the broken node out of it"
                ) from error
            time.sleep(1)
