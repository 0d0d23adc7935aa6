"""Joins the backend of several processes, before it has touched a device."""

from __future__ import annotations

from datetime import timedelta

from pipeline.cluster.place import Place
from pipeline.errors import BackendError

HEARTBEAT_SECONDS = 60  # without any sign of a process before it counts as dead; a cut link may take as long


def join_backend(backend: str, place: Place, address: str, patience: float) -> None:
    """Make this process's backend one of several; nothing happens the second time.

    Args:
        backend: str. jax or torch; loaded by this.
        place: Place. This process's.
        address: str. `host:port` on which process 0's backend listens.
        patience: float. Seconds to wait for the others.

    Raises:
        BackendError: the backend does not train in several processes, or the others do not come.
    """
    try:
        match backend:
            case "jax":
                _join_jax(place, address, patience)
            case "torch":
                _join_torch(place, address, patience)
            case _:
                raise BackendError(
                    f"runtime.backend is {backend!r}, which trains in one process here; set runtime.backend to jax or "
                    "torch, or start one process"
                )
    except RuntimeError as error:
        raise BackendError(
            f"process {place.process_id} could not join the others of {backend} at {address}: {error}"
        ) from error


def _join_jax(place: Place, address: str, patience: float) -> None:
    import jax

    if jax.distributed.is_initialized():
        return
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    jax.distributed.initialize(
        coordinator_address=address,
        num_processes=place.num_processes,
        process_id=place.process_id,
        initialization_timeout=int(patience),
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )


def _join_torch(place: Place, address: str, patience: float) -> None:
    import torch

    if torch.distributed.is_initialized():
        return
    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=f"tcp://{address}",
        world_size=place.num_processes,
        rank=place.process_id,
        timeout=timedelta(seconds=max(patience, HEARTBEAT_SECONDS)),
    )
