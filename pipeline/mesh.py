"""The mesh of a plan: read, completed, checked against model and batch; and which meshes there are."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping

from models.layout import AXES
from models.parallel import MeshShape, misfit
from models.size import Dimensions
from pipeline.errors import RecipeError

FORM = "data=4,fsdp=2,model=1, with -1 for the rest on one of them"


def read_mesh(text: str) -> dict[str, int]:
    """Return the axes that `--mesh` gives.

    Raises:
        RecipeError: it is not of the form, or names another axis.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        axis, equals, size = (piece.strip() for piece in part.partition("="))
        if not equals or not size.lstrip("-").isdecimal():
            raise RecipeError(f"--mesh: received {text!r}; expected {FORM}")
        if axis not in AXES:
            close = difflib.get_close_matches(axis, AXES, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise RecipeError(f"--mesh: received the unknown axis {axis!r}{hint}; expected {', '.join(AXES)}")
        if axis in found:
            raise RecipeError(f"--mesh: received {text!r}, which gives {axis} twice; expected {FORM}")
        found[axis] = int(size)
    return found


def resolve_mesh(given: Mapping[str, int], devices: int) -> MeshShape:
    """Return the mesh of all devices; an axis that is not given is 1, but for `data`, which takes the rest.

    Args:
        given: mapping of str to int. Devices along each axis, as in `runtime.mesh`; -1 takes the rest.
        devices: int. How many there are.

    Raises:
        RecipeError: they do not multiply to the devices.
    """
    sizes = {"data": -1, "fsdp": 1, "model": 1} | dict(given)
    shown = ",".join(f"{axis}={sizes[axis]}" for axis in AXES)
    open_axes = [axis for axis, size in sizes.items() if size == -1]
    if len(open_axes) > 1 or any(size < 1 for size in sizes.values() if size != -1):
        raise RecipeError(f"runtime.mesh is {shown}; expected sizes of 1 or more, and -1 for the rest on one axis only")
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if open_axes and devices % fixed == 0:
        sizes[open_axes[0]] = devices // fixed
    elif open_axes or fixed != devices:
        what = "does not divide" if open_axes else "is not"
        raise RecipeError(
            f"runtime.mesh is {shown}, whose product {fixed} {what} the number of devices ({devices}); "
            f"expected data x fsdp x model = {devices}, such as data={devices} or fsdp={devices}"
        )
    return MeshShape(**sizes)


def meshes(devices: int) -> Iterator[MeshShape]:
    """Yield every mesh of so many devices: as much as possible along data, then fsdp, then model."""
    divisors = [number for number in range(1, devices + 1) if devices % number == 0]
    for model in divisors:
        for fsdp in divisors:
            if devices % (model * fsdp) == 0:
                yield MeshShape(devices // (model * fsdp), fsdp, model)


def mesh_fault(
    mesh: MeshShape, dimensions: Dimensions, global_batch_size: int, micro_batch_size: int | None
) -> str | None:
    """Return why a mesh cannot train the model with this batch, and what to change; None when it can."""
    parts = mesh.batch_shards
    if found := misfit(dimensions, mesh):
        return f"{found}; choose a size of that axis which divides it, or change the model"
    if global_batch_size % parts:
        near = max(1, round(global_batch_size / parts)) * parts
        return (
            f"pretrain.global_batch_size is {global_batch_size}, not a multiple of data x fsdp ({parts}); set it to a "
            f"multiple, such as {near}, or give fewer devices to data and fsdp"
        )
    rows = global_batch_size // parts
    if micro_batch_size and micro_batch_size < rows and rows % micro_batch_size:
        fitting = next(size for size in range(micro_batch_size, 0, -1) if rows % size == 0)
        return (
            f"runtime.micro_batch_size is {micro_batch_size}, which does not divide the {rows} rows that each device "
            f"gets of pretrain.global_batch_size ({global_batch_size} over data x fsdp = {parts}); set it to {fitting}"
        )
    return None


def check_mesh(mesh: MeshShape, dimensions: Dimensions, global_batch_size: int, micro_batch_size: int | None) -> None:
    """Raise RecipeError when the mesh cannot train the model with this batch; see `mesh_fault`."""
    if fault := mesh_fault(mesh, dimensions, global_batch_size, micro_batch_size):
        raise RecipeError(f"runtime.mesh is {mesh}: {fault}")
