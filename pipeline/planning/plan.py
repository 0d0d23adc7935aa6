"""The plan of a pretraining on devices that are not here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models.cost import Parameters, parameters
from models.parallel import GATHERS
from pipeline.config import Recipe
from pipeline.errors import RecipeError
from pipeline.mesh import check_mesh, resolve_mesh
from pipeline.planning.corpus import Corpus
from pipeline.planning.devices import Cluster
from pipeline.planning.search import Option, evaluate, search
from pipeline.planning.timing import EFFICIENCY, LINK_EFFICIENCY, SHORT
from pipeline.planning.workload import Workload, workload_of
from pipeline.presets.folder import is_address
from pipeline.store.files import human_bytes


@dataclass(frozen=True)
class Wishes:
    """What a plan is asked for, beside recipe and devices.

    Attributes:
        mesh: mapping of str to int. As `runtime.mesh`; empty: all devices along `data`.
        gather: str. As `runtime.fsdp_gather`.
        usable: float or None. Share of a device's memory that training may take; None: that of the kind of device.
        efficiency: float or None. Share of the peak that compute reaches; None: that of the kind of device.
        price: float or None. Of one device for one hour.
    """

    mesh: Mapping[str, int]
    gather: str = "update"
    usable: float | None = None
    efficiency: float | None = None
    price: float | None = None


@dataclass(frozen=True)
class Plan:
    """What a pretraining takes.

    Attributes:
        workload: Workload. What is trained.
        cluster: Cluster. On what.
        available: float. Bytes that a training may take on each device.
        chosen: Option. The mesh that was asked for.
        options: tuple of Option. Every mesh, the preferred ones first.
        price: float or None. Of one device for one hour.
        assumptions: tuple of str. What is not known, and what is taken instead.
    """

    workload: Workload
    cluster: Cluster
    available: float
    chosen: Option
    options: tuple[Option, ...]
    price: float | None
    assumptions: tuple[str, ...]

    @property
    def parameters(self) -> Parameters:
        """By part."""
        training = self.workload.training
        return parameters(training.dimensions, training.vocabulary_size, training.groups)

    @property
    def suggested(self) -> Option | None:
        """The first mesh that fits; None when none does."""
        return next((option for option in self.options if option.fits), None)

    @property
    def fastest(self) -> Option | None:
        """The mesh with the shortest update; None when none fits."""
        timed = [(option.time.seconds, place) for place, option in enumerate(self.options) if option.time]
        return self.options[min(timed)[1]] if timed else None

    def hours(self, option: Option) -> float | None:
        """Return the hours of all updates on a mesh; None when it does not fit."""
        return self.workload.steps * option.time.seconds / 3600 if option.time else None

    def cost(self, option: Option) -> float | None:
        """Return the price of all devices for all hours; None without a price of one, or when it does not fit."""
        hours = self.hours(option)
        return None if self.price is None or hours is None else hours * self.cluster.devices * self.price

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for programs."""
        workload, training = self.workload, self.workload.training
        return {
            "devices": self.cluster.devices,
            "device": self.cluster.device.name,
            "hosts": self.cluster.hosts,
            "precision": workload.precision,
            "parameters": asdict(self.parameters) | {"total": workload.parameters},
            "flops_per_token": workload.flops_per_token,
            "sequence_length": training.sequence_length,
            "vocabulary_size": training.vocabulary_size,
            "global_batch_size": workload.global_batch_size,
            "steps": workload.steps,
            "tokens": workload.tokens,
            "memory_bytes": self.cluster.device.memory,
            "usable_bytes": self.available,
            "plan": self._option(self.chosen),
            "suggested": self._option(self.suggested) if self.suggested else None,
            "fastest": self._option(self.fastest) if self.fastest else None,
            "options": [self._option(option) for option in self.options],
            "price_per_device_hour": self.price,
            "assumptions": list(self.assumptions),
        }

    def _option(self, option: Option) -> dict[str, Any]:
        values = asdict(option)
        for name in ("memory", "planned"):
            if found := getattr(option, name):
                values[name]["total"] = found.total
        if time := option.time:
            values["time"] |= {"compute": time.compute, "exposed": time.exposed, "seconds": time.seconds}
        return values | {"fits": option.fits, "hours": self.hours(option), "cost": self.cost(option)}


def make_plan(recipe: Recipe, cluster: Cluster, wishes: Wishes, corpus: Corpus | None = None) -> Plan:
    """Return the plan of a recipe's pretraining.

    Args:
        recipe: Recipe. What is trained.
        cluster: Cluster. On what.
        wishes: Wishes. The mesh, and what is known better than assumed.
        corpus: Corpus. None: not known; see `workload_of`.

    Raises:
        RecipeError: the mesh does not fit the devices, the model or the batch.
    """
    if not recipe.pretrain.train or is_address(recipe.pretrain.start_from or ""):
        raise RecipeError(
            f"nothing is pretrained: the backbone {recipe.pretrain.start_from} is taken as it is; a plan is of a "
            "pretraining"
        )
    if wishes.gather not in GATHERS:
        raise RecipeError(f"runtime.fsdp_gather is {wishes.gather!r}; expected one of {', '.join(GATHERS)}")
    device = cluster.device
    workload = workload_of(recipe, device, corpus, wishes.gather)
    mesh = resolve_mesh(wishes.mesh, cluster.devices)
    check_mesh(mesh, workload.dimensions, workload.global_batch_size, workload.micro_batch_size)
    usable = wishes.usable or device.usable
    available = usable * device.memory
    chosen = evaluate(workload, cluster, mesh, available, wishes.efficiency)
    return Plan(
        workload,
        cluster,
        available,
        chosen,
        tuple(search(workload, cluster, available, wishes.efficiency)),
        wishes.price,
        (*workload.assumptions, *_assumptions(cluster, workload, usable, wishes.efficiency), *_doubts(cluster, chosen)),
    )


def _assumptions(cluster: Cluster, workload: Workload, usable: float, efficiency: float | None) -> list[str]:
    device = cluster.device
    peak = device.peak_flops(workload.precision, workload.backend)
    reached = efficiency or EFFICIENCY[device.kind]
    jax = (
        ", what JAX takes of a GPU unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise" if device.kind == "gpu" else ""
    )
    taken = f"{usable:.0%} of {human_bytes(device.memory)} are usable"
    found = [
        f"compute runs at {reached:.0%} of {peak / 1e12:,.4g} TFLOP/s ({'given' if efficiency else 'assumed'})",
        taken + (jax if usable == device.usable else " (given)"),
    ]
    if cluster.devices > 1:
        between = f", {device.between / 1e9:,.4g} GB/s between hosts" if cluster.hosts > 1 else ""
        links = f"links reach {LINK_EFFICIENCY:.0%} of {device.inside / 1e9:,.4g} GB/s within a host{between}"
        found.append(f"{links}, of each device in one direction")
    return found


def _doubts(cluster: Cluster, chosen: Option) -> list[str]:
    """Return where the model of time is known to be wrong."""
    if chosen.time is None or cluster.device.kind == "cpu":
        return []
    micro_batches = chosen.rows // chosen.micro_batch_size
    if chosen.time.compute / micro_batches >= SHORT:
        return []
    return [
        f"launching kernels takes no time here; with micro-batches of less than {SHORT * 1e3:.0f} ms they rule, and an "
        "update may take many times as long as planned: a device is too large for such a model, or its batch too small"
    ]
