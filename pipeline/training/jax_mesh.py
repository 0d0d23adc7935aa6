"""JAX's devices as a mesh: where weights and batches lie on it, and how they are gathered and exchanged.

The rows of a batch are split by hand (`shard_map` over `data` and `fsdp`), because only so the gradients of all
micro-batches can be summed on each device before any is exchanged: left to itself, the compiler exchanges them in every
micro-batch. Tensor parallelism (`model`) is left to the compiler, which follows the layout of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import NamedSharding, PartitionSpec

from models.layout import AXES, DATA, FSDP, MODEL, layout_of
from models.parallel import MeshShape

GATHERED = "gathered"
ROWS = PartitionSpec(None, (DATA, FSDP))  # (micro_batches, rows, ...)


@cache
def device_mesh(shape: MeshShape) -> jax.sharding.Mesh:
    """Return the first devices of all processes, arranged by `data`, `fsdp` and `model`."""
    sizes = tuple(asdict(shape)[axis] for axis in AXES)
    automatic = (jax.sharding.AxisType.Auto,) * len(AXES)
    return jax.make_mesh(sizes, AXES, axis_types=automatic, devices=jax.devices()[: shape.devices])


class LayoutDistribution(keras.distribution.ModelParallel):
    """Lets Keras create each variable where `models.layout` says, so that no device ever holds it whole.

    Args:
        shape: MeshShape. Of the mesh.
    """

    def __init__(self, shape: MeshShape) -> None:
        self.mesh = device_mesh(shape)
        devices = [f"{device.platform}:{device.id}" for device in self.mesh.devices.flat]
        mesh = keras.distribution.DeviceMesh(self.mesh.devices.shape, list(AXES), devices)
        layout_map = keras.distribution.LayoutMap(mesh)  # stays empty: it knows no shapes, which decide what is cut
        super().__init__(layout_map=layout_map, batch_dim_name=DATA, auto_shard_dataset=False)
        self.sizes = asdict(shape)

    def get_variable_layout(self, variable: keras.Variable) -> NamedSharding:
        """Return where a variable lies."""
        return NamedSharding(self.mesh, PartitionSpec(*layout_of(variable.path, tuple(variable.shape), self.sizes)))


class Exchange:
    """Gathers weights that lie in parts, and exchanges gradients, inside a `shard_map` over `data` and `fsdp`.

    Args:
        shape: MeshShape. Of the mesh.
        specs: list of PartitionSpec. Of every trainable variable.
    """

    def __init__(self, shape: MeshShape, specs: list[PartitionSpec]) -> None:
        self.mesh = device_mesh(shape)
        self.specs = specs
        # With one device along `model` everything is done by hand; the compiler has nothing to split.
        self.by_hand = set(AXES) if shape.model == 1 else {DATA, FSDP}
        # For GPUs and TPUs the compiler joins exchanges; between CPUs each costs a thread's turn, 4 ms on one core.
        self.fuses = self.mesh.devices.flat[0].platform == "cpu"

    @property
    def manual_specs(self) -> list[PartitionSpec]:
        """How `shard_map` cuts each trainable variable: along `fsdp` only."""
        return [PartitionSpec(*(axis if axis == FSDP else None for axis in spec)) for spec in self.specs]

    def on_parts(self, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        """Return the function run on every device's part."""
        mapped: Callable[..., Any] = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            axis_names=self.by_hand,
            check_vma=False,
        )
        return mapped

    def gather(self, parts: Sequence[Any]) -> list[Any]:
        """Return the weights whole along `fsdp`."""

        def whole(part: Any, spec: PartitionSpec) -> Any:
            if FSDP not in spec:
                return part
            axis = spec.index(FSDP)
            gathered = self._along(spec, lambda p: jax.lax.all_gather(p, FSDP, axis=axis, tiled=True), part)
            return checkpoint_name(gathered, GATHERED)

        return [whole(part, spec) for part, spec in zip(parts, self.specs, strict=True)]

    def scatter(self, gradients: Sequence[Any]) -> list[Any]:
        """Return each device's part of whole gradients, summed over `fsdp` where the weight is cut along it."""

        def part(gradient: Any, spec: PartitionSpec) -> Any:
            if FSDP not in spec:
                return gradient
            axis = spec.index(FSDP)
            return self._along(
                spec, lambda g: jax.lax.psum_scatter(g, FSDP, scatter_dimension=axis, tiled=True), gradient
            )

        return [part(gradient, spec) for gradient, spec in zip(gradients, self.specs, strict=True)]

    def reduce(self, gradients: Sequence[Any], largest: Sequence[bool]) -> list[Any]:
        """Return parts of gradients, summed over the devices that saw other rows, or the largest of theirs."""

        def total(gradient: Any, spec: PartitionSpec, of_largest: bool) -> Any:
            axes = (DATA,) if FSDP in spec else (DATA, FSDP)
            combine: Any = jax.lax.pmax if of_largest else jax.lax.psum
            return self._along(spec, lambda g: combine(g, axes), gradient)

        joined = list(zip(gradients, self.specs, largest, strict=True))
        if not self.fuses:
            return [total(gradient, spec, of_largest) for gradient, spec, of_largest in joined]
        groups: dict[Any, list[int]] = {}
        for index, (_, spec, of_largest) in enumerate(joined):
            alone = index if MODEL in spec and MODEL not in self.by_hand else None
            groups.setdefault((FSDP in spec, of_largest, alone), []).append(index)
        found: dict[int, Any] = {}
        for members in groups.values():
            _, spec, of_largest = joined[members[0]]
            together = partial(total, spec=spec, of_largest=of_largest)
            found |= zip(members, fused(together, [gradients[index] for index in members]), strict=True)
        return [found[index] for index in range(len(joined))]

    def total(self, sums: Any) -> Any:
        """Return arrays summed over the devices that saw other rows."""
        return tuple(fused(lambda values: jax.lax.psum(values, (DATA, FSDP)), list(sums)))

    def shard_number(self) -> Any:
        """Return which part of the rows this device has."""
        return jax.lax.axis_index((DATA, FSDP))

    def _along(self, spec: PartitionSpec, function: Callable[[Any], Any], value: Any) -> Any:
        """Return the function's result on each device's part along `model`.

        The compiler would otherwise gather the value along `model` before it does anything along another axis.
        """
        if MODEL not in spec or MODEL in self.by_hand:
            return function(value)
        cut = PartitionSpec(*(axis if axis == MODEL else None for axis in spec))
        mapped: Any = jax.shard_map(function, in_specs=cut, out_specs=cut, axis_names={MODEL}, check_vma=False)
        return mapped(value)


def fused(function: Callable[[Any], Any], arrays: Sequence[Any]) -> list[Any]:
    """Return an elementwise function's results on several arrays, called once on all their numbers in a row."""
    if len(arrays) == 1:
        return [function(arrays[0])]
    flat = function(jnp.concatenate([array.ravel() for array in arrays]))
    ends = np.cumsum([array.size for array in arrays])
    return [part.reshape(array.shape) for part, array in zip(jnp.split(flat, ends[:-1]), arrays, strict=True)]


def spec_of(value: Any) -> PartitionSpec:
    """Return how an array is cut, one entry for each dimension; one that lies on a single device is not."""
    sharding = value.sharding
    axes = tuple(sharding.spec) if isinstance(sharding, NamedSharding) else ()
    return PartitionSpec(*axes, *(None,) * (value.ndim - len(axes)))


def local_rows(shape: MeshShape, rows: int) -> slice:
    """Return which of the rows of a micro-batch this process's devices take."""
    sharding = NamedSharding(device_mesh(shape), PartitionSpec((DATA, FSDP)))
    parts = sharding.addressable_devices_indices_map((rows,)).values()
    slices = [index[0].indices(rows) for index in parts if index is not None]
    return slice(min(start for start, _, _ in slices), max(stop for _, stop, _ in slices))


def place(shape: MeshShape, batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return this process's part of a batch, (micro_batches, rows, ...) each, as part of the batch of all devices."""
    sharding = NamedSharding(device_mesh(shape), ROWS)
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()}


def replicated(shape: MeshShape) -> NamedSharding:
    """Return the layout of what every device holds whole."""
    return NamedSharding(device_mesh(shape), PartitionSpec())


def zeros_like(values: Sequence[Any]) -> list[Any]:
    """Return float32 zeros of the same shapes."""
    return [jnp.zeros(value.shape, jnp.float32) for value in values]


def gathered_home(value: Any) -> Any:
    """Return a sharded array on one device of process 0; of the others, which take part, an empty one."""
    whole = jax.jit(lambda array: array, out_shardings=NamedSharding(value.sharding.mesh, PartitionSpec()))(value)
    local = whole.addressable_data(0)
    if jax.process_index():
        return jnp.zeros((), value.dtype)
    return jax.device_put(np.asarray(local), jax.local_devices(backend="cpu")[0])
