"""How long an update takes, by a model of the hardware that is simple enough to be checked by hand.

    compute        the longer one of products and memory traffic
    products       operations of the update / (devices x peak x EFFICIENCY); operations that no part of the mesh divides
                   (the logits where `model` does not divide the vocabulary) count on every device of `model`
    traffic        bytes / the bandwidth of the memory: per micro-batch 3 times the activations (written, read, and
                   their gradients) and 4 times the weights (read forward and backward, gradients added up), and
                   per update the optimizer's pass over gradients, weights and slots; not where the bandwidth is unknown
    communication  bytes sent / (bandwidth x LINK_EFFICIENCY) + ring steps x latency. In a ring of n devices an
                   all-reduce of b bytes sends 2 (n - 1) / n b in 2 (n - 1) steps, an all-gather or a reduce-scatter
                   half of both
    update         compute + communication, since weights are gathered before the first product and gradients reduced
                   after the last one, and the sums inside a block are waited for. With `fsdp_gather: micro_batch` the
                   gathers and scatters of one layer run during the products of another: of those counts only what is
                   longer than all compute

Devices stand in the order model, fsdp, data: neighbours are of one `model` group. An axis whose group leaves a host
goes at the pace of its slowest link: that between hosts, times the members of the group in one host, which send side by
side; never faster than within the host. What is left out: the first compilation, reading data, evaluations and
checkpoints, uneven devices, and the launches of kernels, which rule where a micro-batch takes less than `SHORT`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.parallel import MeshShape, Training, Transfer, memory_per_device, transfers, vocabulary_parts
from pipeline.planning.devices import Cluster
from pipeline.planning.workload import Workload

# On two cores this project reaches 48 to 57 % of the peak (docs/training-log.md); on accelerators it is an assumption.
EFFICIENCY = {"cpu": 0.5, "gpu": 0.4, "tpu": 0.4}
LINK_EFFICIENCY = 0.8
LATENCY_INSIDE, LATENCY_BETWEEN = 3e-6, 10e-6  # seconds of one step of a ring
SHORT = 5e-3  # seconds


@dataclass(frozen=True)
class Link:
    """What the devices of one axis send over."""

    bytes_per_second: float
    latency: float
    inside: bool


@dataclass(frozen=True)
class Communication:
    """One kind of transfer, what each device sends for it per update, and how long that takes."""

    kind: str
    axis: str
    what: str
    bytes: float
    seconds: float
    inside: bool
    overlaps: bool


@dataclass(frozen=True)
class UpdateTime:
    """One update.

    Attributes:
        products: float. Seconds of matrix products.
        traffic: float. Seconds of reading and writing memory; 0: not known.
        communication: tuple of Communication. By kind and axis.
        utilization: float. Model FLOPs utilization: operations per token x tokens per second / peak of all devices.
    """

    products: float
    traffic: float
    communication: tuple[Communication, ...]
    utilization: float

    @property
    def compute(self) -> float:
        """Seconds until the device is done with its part."""
        return max(self.products, self.traffic)

    @property
    def exposed(self) -> float:
        """Seconds of communication that no compute hides."""
        overlapping = sum(part.seconds for part in self.communication if part.overlaps)
        waited = sum(part.seconds for part in self.communication if not part.overlaps)
        return waited + max(0.0, overlapping - self.compute)

    @property
    def seconds(self) -> float:
        """All."""
        return self.compute + self.exposed


def update_time(
    workload: Workload, cluster: Cluster, mesh: MeshShape, micro_batch_size: int, efficiency: float | None = None
) -> UpdateTime:
    """Return how long an update takes by the model that this file states.

    Args:
        workload: Workload. What is trained.
        cluster: Cluster. On what.
        mesh: MeshShape. How it is cut.
        micro_batch_size: int. Rows of a forward pass on each device.
        efficiency: float. Share of the peak that compute reaches; default: `EFFICIENCY` of the kind of device.
    """
    training, device = workload.training, cluster.device
    peak = device.peak_flops(workload.precision, workload.backend)
    reached = peak * (efficiency or EFFICIENCY[device.kind])
    flops = workload.flops_per_token * workload.tokens_per_update
    products = (flops + _repeated(training, mesh) * workload.tokens_per_update) / (mesh.devices * reached)
    micro_batches = workload.global_batch_size // (mesh.batch_shards * micro_batch_size)
    sent = transfers(training, mesh, micro_batch_size, micro_batches)
    communication = tuple(_communication(transfer, mesh, cluster, training.gather) for transfer in sent)
    traffic = _traffic(training, mesh, micro_batch_size, micro_batches) / device.reading if device.reading else 0.0
    time = UpdateTime(products, traffic, communication, 0.0)
    return replace(time, utilization=flops / (time.seconds * mesh.devices * peak))


def link_of(axis: str, mesh: MeshShape, cluster: Cluster) -> Link:
    """Return what the devices of an axis send over, by where they stand."""
    sizes = {"model": mesh.model, "fsdp": mesh.fsdp, "data": mesh.data}
    stride = {"model": 1, "fsdp": mesh.model, "data": mesh.model * mesh.fsdp}[axis]
    device, span = cluster.device, stride * sizes[axis]
    if cluster.hosts == 1 or (span <= cluster.per_host and cluster.per_host % span == 0):
        return Link(device.inside * LINK_EFFICIENCY, LATENCY_INSIDE, inside=True)
    members = max(1, cluster.per_host // stride)  # of one group, in one host
    return Link(min(device.inside, device.between * members) * LINK_EFFICIENCY, LATENCY_BETWEEN, inside=False)


def _communication(transfer: Transfer, mesh: MeshShape, cluster: Cluster, gather: str) -> Communication:
    devices: int = getattr(mesh, transfer.axis)
    link = link_of(transfer.axis, mesh, cluster)
    sent = transfer.sent(devices)
    seconds = sent / link.bytes_per_second + transfer.steps(devices) * link.latency
    overlaps = gather == "micro_batch" and transfer.axis == "fsdp" and transfer.kind != "all_reduce"
    return Communication(transfer.kind, transfer.axis, transfer.what, sent, seconds, link.inside, overlaps)


def _traffic(training: Training, mesh: MeshShape, rows: int, micro_batches: int) -> float:
    """Return the bytes that one device reads and writes per update."""
    memory = memory_per_device(training, mesh, rows)
    whole = memory.weights * mesh.fsdp
    optimizer = memory.weights + 2 * (memory.weights + memory.optimizer)
    return micro_batches * (3.0 * memory.activations + 4.0 * whole) + optimizer


def _repeated(training: Training, mesh: MeshShape) -> float:
    """Return the operations per token that every device of `model` repeats beyond the first."""
    if vocabulary_parts(training, mesh) == mesh.model:
        return 0.0
    predictions = 1.0 if training.dimensions.architecture == "decoder" else training.predictions_per_token
    logits = 6 * training.dimensions.hidden_dim * training.vocabulary_size * predictions
    return logits * (mesh.model - 1)
