"""Which meshes of the devices hold a training, and with how many rows at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.parallel import GATHERS, DeviceMemory, MeshShape, activations_per_row, memory_per_device
from pipeline.mesh import mesh_fault, meshes
from pipeline.planning.devices import Cluster
from pipeline.planning.timing import UpdateTime, update_time
from pipeline.planning.workload import Workload
from pipeline.store.files import human_bytes


@dataclass(frozen=True)
class Option:
    """One mesh, and what becomes of the training on it.

    Attributes:
        mesh: MeshShape. How the devices are used.
        gather: str. As `runtime.fsdp_gather`.
        fault: str or None. Why it does not go at all, or does not fit; None: it fits.
        rows: int. Rows that each device gets per update; 0 where it does not go at all.
        asked: int. Rows per forward pass that the recipe asks for.
        largest: int. Most rows per forward pass that the memory holds.
        micro_batch_size: int. What is planned: as asked where that fits, else the most that divides `rows`; 0: none.
        memory: DeviceMemory or None. With as many rows as asked; None where it does not go at all.
        planned: DeviceMemory or None. With `micro_batch_size` rows, or with a single one where none fits.
        time: UpdateTime or None. Of an update with `micro_batch_size`.
    """

    mesh: MeshShape
    gather: str
    fault: str | None = None
    rows: int = 0
    asked: int = 0
    largest: int = 0
    micro_batch_size: int = 0
    memory: DeviceMemory | None = None
    planned: DeviceMemory | None = None
    time: UpdateTime | None = None

    @property
    def fits(self) -> bool:
        """Whether it can be trained so, if need be with fewer rows per forward pass than asked."""
        return self.micro_batch_size > 0


def evaluate(
    workload: Workload, cluster: Cluster, mesh: MeshShape, available: float, efficiency: float | None = None
) -> Option:
    """Return what becomes of a training on one mesh.

    Args:
        workload: Workload. What is trained, with its way of gathering.
        cluster: Cluster. On what.
        mesh: MeshShape. Of all its devices.
        available: float. Bytes that a training may take on each.
        efficiency: float. As in `update_time`.
    """
    training = workload.training
    fault = mesh_fault(mesh, workload.dimensions, workload.global_batch_size, workload.micro_batch_size)
    if fault:
        return Option(mesh, training.gather, fault)
    rows = workload.global_batch_size // mesh.batch_shards
    asked = min(workload.micro_batch_size or rows, rows)
    memory = memory_per_device(training, mesh, asked)
    fixed = memory.total - memory.activations
    largest = max(0, int((available - fixed) // activations_per_row(training, mesh)))
    size = max((size for size in range(1, asked + 1) if rows % size == 0 and size <= largest), default=0)
    if memory.total <= available:
        size = asked
    planned = memory_per_device(training, mesh, size or 1)
    option = Option(mesh, training.gather, None, rows, asked, largest, size, memory, planned)
    if not size:
        return replace(option, fault=f"one row is too much: {_largest_part(planned)}")
    return replace(option, time=update_time(workload, cluster, mesh, size, efficiency))


def search(workload: Workload, cluster: Cluster, available: float, efficiency: float | None = None) -> list[Option]:
    """Return every mesh of the devices, the preferred ones first: data before fsdp before model.

    Data parallelism sends least and asks nothing of the model, then come the ways of gathering over fsdp, first the one
    that is asked for. The first that fits is the one to take, unless a later one is faster.
    """
    options = []
    asked = workload.training.gather
    ways = (asked, *(gather for gather in GATHERS if gather != asked))
    for mesh in meshes(cluster.devices):
        for gather in ways if mesh.fsdp > 1 else (asked,):
            changed = replace(workload, training=replace(workload.training, gather=gather))
            options.append(evaluate(changed, cluster, mesh, available, efficiency))
    return options


def _largest_part(memory: DeviceMemory) -> str:
    parts = {name: getattr(memory, name) for name in ("weights", "gradients", "optimizer", "gathered", "activations")}
    name = max(parts, key=lambda part: parts[part])
    words = {"optimizer": "optimizer slots", "gathered": "gathered weights"}
    return f"{human_bytes(parts[name])} are {words.get(name, name)}"
