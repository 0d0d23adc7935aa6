from dataclasses import replace

import pytest
from plan_cases import ROUND, cluster, make_recipe

from models.parallel import MeshShape, memory_per_device
from pipeline.planning.search import evaluate, search
from pipeline.planning.workload import workload_of

WORKLOAD = workload_of(make_recipe(), ROUND, None, "update")


def needs(mesh: MeshShape, rows: int, gather: str = "update") -> int:
    return memory_per_device(replace(WORKLOAD.training, gather=gather), mesh, rows).total


def test_all_rows_of_a_device_go_at_once_where_they_fit() -> None:
    option = evaluate(WORKLOAD, cluster(4), MeshShape(4), needs(MeshShape(4), 16))
    assert (option.rows, option.asked, option.micro_batch_size, option.largest) == (16, 16, 16, 16)
    assert option.fault is None
    assert option.planned == option.memory


def test_else_the_most_that_divides_them() -> None:
    option = evaluate(WORKLOAD, cluster(4), MeshShape(4), needs(MeshShape(4), 16) - 1)
    assert (option.asked, option.largest, option.micro_batch_size) == (16, 15, 8)
    assert option.fits
    assert option.planned.total == needs(MeshShape(4), 8)


def test_the_recipes_micro_batch_is_kept_where_it_fits() -> None:
    asked = replace(WORKLOAD, micro_batch_size=4)
    assert evaluate(asked, cluster(4), MeshShape(4), needs(MeshShape(4), 16)).micro_batch_size == 4
    assert evaluate(asked, cluster(4), MeshShape(4), needs(MeshShape(4), 3)).micro_batch_size == 2


def test_what_does_not_fit_is_told_with_what_takes_most() -> None:
    tight = evaluate(WORKLOAD, cluster(4), MeshShape(4), needs(MeshShape(4), 1) - 1)
    assert (tight.fits, tight.time, tight.micro_batch_size) == (False, None, 0)
    assert tight.fault == "one row is too much: 1.1 MB are optimizer slots"


def test_the_first_mesh_that_fits_has_the_least_fsdp_and_model() -> None:
    # Less than any mesh without fsdp needs for one row, as much as one does with two of it.
    available = needs(MeshShape(4, 2), 1)
    assert available < needs(MeshShape(8), 1)
    options = search(WORKLOAD, cluster(8), available)
    first = next(option for option in options if option.fits)
    assert (first.mesh, first.gather) == (MeshShape(4, 2), "update")
    # With less than that, the other way of gathering comes before more of fsdp.
    options = search(WORKLOAD, cluster(8), available - 1)
    first = next(option for option in options if option.fits)
    assert (first.mesh, first.gather) == (MeshShape(4, 2), "micro_batch")


def test_meshes_that_cannot_be_are_told_in_the_search() -> None:
    options = {(option.mesh, option.gather): option for option in search(WORKLOAD, cluster(8), 1e9)}
    assert options[(MeshShape(1, 1, 8), "update")].fault.startswith(
        "model is 8, which does not divide model.num_heads (4)"
    )
    assert (MeshShape(8), "micro_batch") not in options  # nothing is gathered
    assert len(options) == 4 + 2 * (3 + 2 + 1)


@pytest.mark.parametrize("mesh", [MeshShape(8), MeshShape(4, 2), MeshShape(2, 2, 2)])
def test_the_largest_micro_batch_is_the_last_that_fits(mesh) -> None:
    option = evaluate(WORKLOAD, cluster(8), mesh, 5e6)
    assert needs(mesh, option.largest) <= 5e6 < needs(mesh, option.largest + 1)
