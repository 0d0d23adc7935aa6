"""How a training is spread over devices: the recipe's mesh, resolved and checked against what there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from models.parallel import MeshShape
from pipeline.config import Mesh
from pipeline.errors import BackendError
from pipeline.mesh import resolve_mesh
from pipeline.training.batches import BatchShape

if TYPE_CHECKING:
    import keras

# What each backend trains on several devices; `tests/pipeline/training/` has a test for every word.
PARALLEL = {"jax": ("data", "fsdp", "model"), "tensorflow": (), "torch": ("data",)}


def mesh_on(mesh: Mesh, devices: int, backend: str) -> MeshShape:
    """Return the mesh of the recipe on so many devices.

    Args:
        mesh: Mesh. Of the recipe; -1 stands for the devices that the other axes leave.
        devices: int. What the backend has, on all processes together.
        backend: str. jax, tensorflow or torch.

    Raises:
        BackendError: the backend does not train in this way.
        RecipeError: the mesh has more or fewer devices than there are.
    """
    sizes = mesh.model_dump()
    for axis, size in sizes.items():
        if size > 1 and axis not in PARALLEL[backend]:
            able = [name for name, axes in PARALLEL.items() if axis in axes]
            raise BackendError(
                f"runtime.mesh.{axis} is {size}, which {backend} does not do here; set runtime.backend to "
                f"{' or '.join(able)}, or runtime.mesh.{axis} to 1"
            )
    return resolve_mesh(sizes, devices)


def device_count() -> int:
    """Return how many devices the loaded backend can train on, on all processes together."""
    import keras

    match keras.backend.backend():
        case "jax":
            import jax

            return int(jax.device_count())
        case "torch":
            import torch

            started = torch.distributed.is_available() and torch.distributed.is_initialized()
            return int(torch.distributed.get_world_size()) if started else 1
        case _:
            return 1


def split_batch(shape: MeshShape, global_batch_size: int, micro_batch_size: int | None) -> BatchShape:
    """Return the rows of an update as the mesh splits them, and which of them this process makes.

    Raises:
        RecipeError: they cannot be split into equal parts.
    """
    import keras

    whole = BatchShape.of(global_batch_size, micro_batch_size, shape.batch_shards)
    if shape.devices == 1:
        return whole
    match keras.backend.backend():
        case "jax":
            from pipeline.training.jax_mesh import local_rows

            own = local_rows(shape, whole.micro_batch_size)
        case _:
            import torch

            rows = whole.micro_batch_size // shape.data
            own = slice(torch.distributed.get_rank() * rows, (torch.distributed.get_rank() + 1) * rows)
    return replace(whole, own=own)


@contextmanager
def laid_out(shape: MeshShape) -> Iterator[None]:
    """Create the variables of models and optimizers in the block where the mesh wants them."""
    import keras

    if shape.devices == 1 or keras.backend.backend() != "jax":
        yield
        return
    from pipeline.training.jax_mesh import LayoutDistribution

    keras.distribution.set_distribution(LayoutDistribution(shape))
    try:
        yield
    finally:
        keras.distribution.set_distribution(None)  # under a distribution Keras can save nothing


def bring_home(model: keras.Model) -> None:
    """Put the weights of a model that lies across a mesh into the memory of process 0, one by one, to be saved."""
    import keras

    if keras.backend.backend() != "jax":
        return
    from pipeline.training.jax_mesh import gathered_home

    for variable in model.variables:
        if len(variable.value.sharding.device_set) > 1:
            variable._layout = None
            variable._value = gathered_home(variable.value)
