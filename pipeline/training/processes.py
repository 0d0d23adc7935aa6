"""The processes of one training: which this one is, and what they decide together.

They are the backend's own (`jax.distributed`, `torch.distributed`); without one of those there is one process. What is
called here must be called by all of them, in the same order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def process_id() -> int:
    """Return this process's number; 0 writes what there is one of."""
    match keras.backend.backend():
        case "jax":
            import jax

            return int(jax.process_index())
        case "torch":
            import torch

            return int(torch.distributed.get_rank()) if _torch_started() else 0
    return 0


def num_processes() -> int:
    """Return how many there are."""
    match keras.backend.backend():
        case "jax":
            import jax

            return int(jax.process_count())
        case "torch":
            import torch

            return int(torch.distributed.get_world_size()) if _torch_started() else 1
    return 1


def largest(values: Sequence[float]) -> list[float]:
    """Return the largest of each value over all processes."""
    if num_processes() == 1:
        return list(values)
    gathered: list[float] = np.max(_gathered(values), axis=0).tolist()
    return gathered


def from_first(values: Sequence[float]) -> list[float]:
    """Return the values of process 0."""
    if num_processes() == 1:
        return list(values)
    first: list[float] = _gathered(values)[0].tolist()
    return first


class Agreement:
    """Lets all processes stop, and save, after the same update.

    Each says before an update what it wishes; what any of them wished holds `LAG` updates later, when all have heard of
    it without having waited. A single process needs no time for that.
    """

    LAG = 2

    def __init__(self) -> None:
        self.several = num_processes() > 1
        self._open: deque[Any] = deque()
        self._agreed = (False, False)

    def wish(self, stop: bool, save: bool) -> None:
        """Say what this process wishes, before an update."""
        if not self.several:
            self._agreed = (stop, save)
            return
        self._open.append(_largest_later([float(stop), float(save)]))
        heard = self._open.popleft() if len(self._open) > self.LAG else None
        values = [0.0, 0.0] if heard is None else np.asarray(heard).tolist()
        self._agreed = (bool(values[0]), bool(values[1]))

    @property
    def stop(self) -> bool:
        """Whether all stop before the next update."""
        return self._agreed[0]

    @property
    def save(self) -> bool:
        """Whether all save after the next update."""
        return self._agreed[1]


def _torch_started() -> bool:
    import torch

    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def _gathered(values: Sequence[float]) -> np.ndarray:
    """Return (processes, values) float64: as bits, because JAX would round to float32."""
    own = np.array(values, np.float64)
    if keras.backend.backend() == "torch":
        import torch

        found = [torch.zeros(len(own), dtype=torch.float64) for _ in range(num_processes())]
        torch.distributed.all_gather(found, torch.from_numpy(own))
        return np.stack([part.numpy() for part in found])
    from jax.experimental import multihost_utils

    bits = np.asarray(multihost_utils.process_allgather(own.view(np.uint32)))
    return np.ascontiguousarray(bits.reshape(num_processes(), -1)).view(np.float64)


def _largest_later(values: list[float]) -> Any:
    """Return the largest of each over all processes, as an array that need not be ready yet."""
    if keras.backend.backend() == "torch":
        import torch

        largest_values = torch.tensor(values)
        torch.distributed.all_reduce(largest_values, torch.distributed.ReduceOp.MAX)
        return largest_values
    import jax

    devices = np.array(jax.devices())
    sharding = jax.sharding.NamedSharding(
        jax.sharding.Mesh(devices, ("devices",)), jax.sharding.PartitionSpec("devices")
    )
    own = np.tile(np.array(values, np.float32), (jax.local_device_count(), 1))
    everywhere = jax.make_array_from_process_local_data(sharding, own)
    return _maximum(everywhere)


def _maximum(array: Any) -> Any:
    import jax

    if array.sharding.mesh not in _COMPILED:
        whole = jax.sharding.NamedSharding(array.sharding.mesh, jax.sharding.PartitionSpec())
        _COMPILED[array.sharding.mesh] = jax.jit(lambda a: a.max(axis=0), out_shardings=whole)
    return _COMPILED[array.sharding.mesh](array)


_COMPILED: dict[Any, Any] = {}
