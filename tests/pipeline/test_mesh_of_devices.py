import pytest
from plan_cases import make_recipe

from models.parallel import MeshShape
from pipeline.dimensions import dimensions_of
from pipeline.errors import RecipeError
from pipeline.mesh import check_mesh, meshes, read_mesh, resolve_mesh

DIMENSIONS = dimensions_of(make_recipe().model)


@pytest.mark.parametrize(
    ("text", "mesh"),
    [
        ("data=4,fsdp=2,model=1", MeshShape(4, 2, 1)),
        ("fsdp=2", MeshShape(4, 2, 1)),
        ("data=2, fsdp=-1", MeshShape(2, 4, 1)),
        ("model=8", MeshShape(1, 1, 8)),
        ("data=1,fsdp=1,model=-1", MeshShape(1, 1, 8)),
    ],
)
def test_a_mesh_is_read_and_completed(text, mesh) -> None:
    assert resolve_mesh(read_mesh(text), 8) == mesh


def test_all_devices_stand_along_data_by_default() -> None:
    assert resolve_mesh({}, 8) == MeshShape(data=8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data=4,fsdp", "--mesh: received 'data=4,fsdp'; expected data=4,fsdp=2,model=1"),
        ("data=x", "--mesh: received 'data=x'"),
        ("date=4", "received the unknown axis 'date', did you mean 'data'?; expected data, fsdp, model"),
        ("data=4,data=2", "which gives data twice"),
        (
            "data=4,fsdp=3,model=1",
            "data=4,fsdp=3,model=1, whose product 12 is not the number of devices (8); expected data",
        ),
        ("fsdp=3", "runtime.mesh is data=-1,fsdp=3,model=1, whose product 3 does not divide the number of devices (8)"),
        ("data=-1,fsdp=-1", "expected sizes of 1 or more, and -1 for the rest on one axis only"),
        ("data=0", "expected sizes of 1 or more"),
    ],
)
def test_a_mesh_that_is_none_is_told(text, message) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve_mesh(read_mesh(text), 8)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("mesh", "batch", "micro", "message"),
    [
        (
            MeshShape(8),
            60,
            None,
            "pretrain.global_batch_size is 60, not a multiple of data x fsdp (8); set it to a multiple, su",
        ),
        (MeshShape(8), 4, None, "such as 8, or give fewer devices to data and fsdp"),
        (MeshShape(4), 64, 6, "runtime.micro_batch_size is 6, which does not divide the 16 rows that each device gets"),
        (MeshShape(4), 64, 6, "set it to 4"),
        (
            MeshShape(1, 1, 8),
            64,
            None,
            "model is 8, which does not divide model.num_heads (4); choose a size of that axis",
        ),
    ],
)
def test_a_mesh_that_does_not_divide_model_or_batch_is_told(mesh, batch, micro, message) -> None:
    with pytest.raises(RecipeError) as caught:
        check_mesh(mesh, DIMENSIONS, batch, micro)
    assert str(caught.value).startswith(f"runtime.mesh is {mesh}: ")
    assert message in str(caught.value)


def test_a_micro_batch_may_be_larger_than_what_a_device_gets() -> None:
    check_mesh(MeshShape(8), DIMENSIONS, 64, 100)


def test_data_is_preferred_to_fsdp_and_fsdp_to_model() -> None:
    assert list(meshes(4)) == [
        MeshShape(4),
        MeshShape(2, 2),
        MeshShape(1, 4),
        MeshShape(2, 1, 2),
        MeshShape(1, 2, 2),
        MeshShape(1, 1, 4),
    ]
    assert all(mesh.devices == 12 for mesh in meshes(12))
