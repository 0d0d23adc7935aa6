import pytest

from pipeline.cluster.place import Place, find_place, first_host
from pipeline.errors import BackendError

TRADEWIND = {
    "TRADEWIND_PROCESS_ID": "1",
    "TRADEWIND_NUM_PROCESSES": "4",
    "TRADEWIND_COORDINATOR": "10.0.0.1:5000",
}
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "node1", "MASTER_PORT": "1234"}
SLURM = {
    "SLURM_PROCID": "2",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[03-04],gpu9",
    "SLURM_JOB_ID": "40007",
}


def test_a_process_on_its_own_has_no_place() -> None:
    assert find_place({"HOME": "/root"}) is None
    assert find_place(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert find_place({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}) is None  # a batch script that has not called srun


def test_each_launcher_is_understood() -> None:
    assert find_place(TRADEWIND) == Place(1, 4, "10.0.0.1:5000")
    assert find_place(TORCHRUN) == Place(3, 8, "node1:1234")
    assert find_place(SLURM) == Place(2, 4, "gpu03:20007")


def test_our_own_variables_come_first() -> None:
    assert find_place(TRADEWIND | TORCHRUN | SLURM) == Place(1, 4, "10.0.0.1:5000")


def test_an_indexed_job_of_kubernetes_says_its_number_only() -> None:
    job = {name: value for name, value in TRADEWIND.items() if name != "TRADEWIND_PROCESS_ID"}
    assert find_place(job | {"JOB_COMPLETION_INDEX": "2"}) == Place(2, 4, "10.0.0.1:5000")
    assert find_place(TRADEWIND | {"TRADEWIND_PROCESS_ID": "", "JOB_COMPLETION_INDEX": "2"}).process_id == 2


def test_our_own_variables_set_to_nothing_are_not_set() -> None:
    assert find_place(dict.fromkeys(TRADEWIND, "")) is None
    assert find_place(dict.fromkeys(TRADEWIND, "") | TORCHRUN) == Place(3, 8, "node1:1234")


@pytest.mark.parametrize(
    "change",
    [
        {"TRADEWIND_PROCESS_ID": "4"},
        {"TRADEWIND_PROCESS_ID": "x"},
        {"TRADEWIND_NUM_PROCESSES": "many"},
        {"TRADEWIND_COORDINATOR": "10.0.0.1"},
        {"TRADEWIND_COORDINATOR": ":5000"},
    ],
)
def test_variables_that_make_no_place_are_refused(change) -> None:
    with pytest.raises(BackendError, match=r"TRADEWIND_\* environment variables make no place .* host:port"):
        find_place(TRADEWIND | change)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("a", "a"), ("a,b", "a"), ("n[03-07,9],g", "n03"), ("n[3,9]", "n3"), ("n[1-2]-ib", "n1-ib"), ("n-1[5]", "n-15")],
)
def test_the_first_of_slurms_hosts(hosts, first) -> None:
    assert first_host(hosts) == first


def test_an_address_of_version_6() -> None:
    assert Place(0, 2, "[fd00::1]:5000").address == ("fd00::1", 5000)
