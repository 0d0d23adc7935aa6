"""Times of devices with round figures, computed by hand."""

from dataclasses import replace

import pytest
from plan_cases import ROUND, cluster, make_recipe

from models.parallel import MeshShape
from pipeline.planning.timing import LATENCY_BETWEEN, LATENCY_INSIDE, Communication, UpdateTime, link_of, update_time
from pipeline.planning.workload import workload_of

WORKLOAD = workload_of(make_recipe(), ROUND, None, "update")
PARAMETERS = WORKLOAD.parameters


def test_one_device_only_computes() -> None:
    time = update_time(WORKLOAD, cluster(1), MeshShape(), 64, efficiency=0.5)
    assert time.communication == ()
    assert time.seconds == time.products == WORKLOAD.flops_per_token * 64 * 32 / 0.5e12
    assert time.utilization == pytest.approx(0.5)


def test_data_parallelism_divides_compute_and_adds_one_all_reduce() -> None:
    alone = update_time(WORKLOAD, cluster(1), MeshShape(), 64)
    time = update_time(WORKLOAD, cluster(4), MeshShape(4), 16)
    assert time.products == pytest.approx(alone.products / 4)
    (reduce,) = time.communication
    assert reduce.bytes == 2 * 3 / 4 * 4 * PARAMETERS
    calls = 3  # two blocks and the embedding
    assert reduce.seconds == pytest.approx(reduce.bytes / 0.8e9 + calls * 6 * LATENCY_INSIDE)
    assert time.seconds == pytest.approx(time.products + reduce.seconds)
    assert time.utilization == pytest.approx(0.4 * time.products / time.seconds)


def test_memory_traffic_rules_where_it_takes_longer() -> None:
    slow = update_time(WORKLOAD, cluster(1, reading=1e6), MeshShape(), 64)
    assert slow.traffic > slow.products
    assert slow.seconds == slow.compute == slow.traffic
    # Four micro-batches read and add the weights four times as often: 3 x 4 x 4 bytes of each more.
    more = update_time(WORKLOAD, cluster(1, reading=1e6), MeshShape(), 16)
    assert more.traffic - slow.traffic == pytest.approx(3 * 16 * PARAMETERS / 1e6, rel=1e-3)


def test_gathers_per_micro_batch_hide_behind_compute() -> None:
    time = UpdateTime(
        products=1.0,
        traffic=0.0,
        communication=(
            Communication("all_gather", "fsdp", "weights", 1.0, 0.7, inside=True, overlaps=True),
            Communication("reduce_scatter", "fsdp", "gradients", 1.0, 0.5, inside=True, overlaps=True),
            Communication("all_reduce", "data", "gradients", 1.0, 0.1, inside=True, overlaps=False),
        ),
        utilization=0.0,
    )
    assert time.exposed == pytest.approx(0.2 + 0.1)
    often = replace(WORKLOAD, training=replace(WORKLOAD.training, gather="micro_batch"))
    overlapping = [part.overlaps for part in update_time(often, cluster(4), MeshShape(2, 2), 4).communication]
    assert overlapping == [True, True, False, False]
    once = update_time(WORKLOAD, cluster(4), MeshShape(2, 2), 4).communication
    assert not any(part.overlaps for part in once)


@pytest.mark.parametrize(
    ("axis", "mesh", "bandwidth", "inside"),
    [
        # Two hosts of four devices: 1 GB/s within, 0.1 GB/s of each device between.
        ("model", MeshShape(2, 1, 4), 1e9, True),
        ("fsdp", MeshShape(2, 2, 2), 1e9, True),
        ("data", MeshShape(2, 2, 2), 1e8, False),  # groups of one device in each host
        ("data", MeshShape(4, 1, 2), 2e8, False),  # of two
        ("data", MeshShape(8), 4e8, False),  # of four
        ("fsdp", MeshShape(1, 8, 1), 4e8, False),
        ("model", MeshShape(1, 1, 8), 4e8, False),
    ],
)
def test_an_axis_goes_at_the_pace_of_its_slowest_link(axis, mesh, bandwidth, inside) -> None:
    link = link_of(axis, mesh, cluster(8, hosts=2))
    assert link.bytes_per_second == pytest.approx(0.8 * bandwidth)
    assert (link.inside, link.latency) == (inside, LATENCY_INSIDE if inside else LATENCY_BETWEEN)


def test_within_one_host_no_link_leaves_it() -> None:
    assert all(link_of(axis, MeshShape(2, 2, 2), cluster(8)).inside for axis in ("data", "fsdp", "model"))


def test_logits_of_a_vocabulary_that_does_not_divide_are_repeated() -> None:
    odd = workload_of(make_recipe(preprocess={"tokenizer": {"vocabulary_size": 513}}), ROUND, None, "update")
    logits = 6 * 64 * 513 * odd.tokens_per_update
    one, two = (update_time(odd, cluster(n), MeshShape(model=n), 64).products for n in (1, 2))
    assert two == pytest.approx(one / 2 + logits / (2 * 0.4e12))
