import numpy as np
import pytest

from models.parallel import MeshShape
from pipeline.config import Mesh
from pipeline.errors import BackendError, RecipeError
from pipeline.training.batches import BatchShape
from pipeline.training.mesh import mesh_on


def test_one_axis_takes_what_the_others_leave() -> None:
    assert mesh_on(Mesh(), 8, "jax") == MeshShape(8, 1, 1)
    assert mesh_on(Mesh(fsdp=2, model=2), 8, "jax") == MeshShape(2, 2, 2)
    assert mesh_on(Mesh(data=1, fsdp=-1), 8, "jax") == MeshShape(1, 8, 1)
    assert mesh_on(Mesh(), 2, "torch") == MeshShape(2, 1, 1)
    assert mesh_on(Mesh(), 1, "tensorflow") == MeshShape()


@pytest.mark.parametrize(("mesh", "devices"), [({"data": 4}, 8), ({"fsdp": 3}, 8), ({"data": 2, "fsdp": 8}, 8)])
def test_a_mesh_of_other_devices_than_there_are_is_refused(mesh, devices) -> None:
    with pytest.raises(RecipeError, match=r"runtime\.mesh is .*, whose product \d+ .* the number of devices \(8\)"):
        mesh_on(Mesh(**mesh), devices, "jax")


@pytest.mark.parametrize(
    ("backend", "mesh", "able"),
    [("torch", {"fsdp": 2}, "jax"), ("torch", {"model": 2}, "jax"), ("tensorflow", {"data": 2}, "jax or torch")],
)
def test_what_a_backend_cannot_do_names_the_one_that_can(backend, mesh, able) -> None:
    with pytest.raises(BackendError, match=rf"{backend} does not do here; set runtime\.backend to {able},"):
        mesh_on(Mesh(**mesh), 2, backend)


def test_a_mesh_is_written_with_one_rest_and_no_zero() -> None:
    for wrong in ({"fsdp": -1}, {"data": 0}, {"data": 2, "fsdp": -2}):
        with pytest.raises(ValueError, match=r"greater than or equal to -1|stands once"):
            Mesh(**wrong)


def test_micro_batches_are_of_each_device_and_the_global_batch_stays() -> None:
    assert BatchShape.of(32, None, 4) == BatchShape(32, 32)
    assert BatchShape.of(32, 4, 4) == BatchShape(32, 16)
    assert BatchShape.of(32, 64, 4) == BatchShape(32, 32)
    with pytest.raises(RecipeError, match=r"global_batch_size is 32, .* into 3 equal parts .* multiple of 3"):
        BatchShape.of(32, None, 3)
    with pytest.raises(
        RecipeError, match=r"no multiple of a forward pass of 24 rows \(runtime\.micro_batch_size 6 on each of 4"
    ):
        BatchShape.of(32, 6, 4)


def test_processes_share_the_rows_of_every_micro_batch() -> None:
    first, second = (BatchShape(8, 4, slice(2 * index, 2 * index + 2)) for index in range(2))
    assert first.positions.tolist() == [0, 1, 4, 5]
    assert second.positions.tolist() == [2, 3, 6, 7]
    assert first.fold(np.arange(4)).tolist() == [[0, 1], [2, 3]]
