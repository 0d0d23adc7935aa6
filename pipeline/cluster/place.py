"""Which of several processes this one is, from what its launcher put into the environment."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from pipeline.errors import BackendError

PROCESS_ID, NUM_PROCESSES, COORDINATOR = "TRADEWIND_PROCESS_ID", "TRADEWIND_NUM_PROCESSES", "TRADEWIND_COORDINATOR"
DEFAULT_PORT = 29_400


@dataclass(frozen=True)
class Place:
    """One of several processes.

    Attributes:
        process_id: int. Its number; process 0 keeps the store, the others only help it.
        num_processes: int. All.
        coordinator: str. `host:port` where process 0 is met.
    """

    process_id: int
    num_processes: int
    coordinator: str

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of process 0."""
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def find_place(environment: Mapping[str, str]) -> Place | None:
    """Return this process's place; None when it is on its own.

    In this order: TRADEWIND_PROCESS_ID, TRADEWIND_NUM_PROCESSES and TRADEWIND_COORDINATOR (in an indexed Job of
    Kubernetes the first of them may be left out; set to nothing is not set), torchrun's variables, Slurm's.

    Raises:
        BackendError: a variable is missing or makes no sense.
    """
    if environment.get(NUM_PROCESSES):
        index = environment.get(PROCESS_ID) or environment.get("JOB_COMPLETION_INDEX")
        return _place(index, environment[NUM_PROCESSES], environment.get(COORDINATOR), "TRADEWIND_*")
    if {"RANK", "WORLD_SIZE"} <= environment.keys():
        address = f"{environment.get('MASTER_ADDR', '')}:{environment.get('MASTER_PORT', DEFAULT_PORT)}"
        return _place(environment["RANK"], environment["WORLD_SIZE"], address, "torchrun's")
    if {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NODELIST"} <= environment.keys():
        # Two jobs on one node must not meet: the port follows from the number of the job.
        port = 20_000 + int(environment.get("SLURM_JOB_ID", "0")) % 20_000
        address = f"{first_host(environment['SLURM_STEP_NODELIST'])}:{port}"
        return _place(environment["SLURM_PROCID"], environment["SLURM_NTASKS"], address, "Slurm's")
    return None


def end_now(status: int) -> NoReturn:
    """End this process, one of several, at once: a backend that has lost the others would wait a minute for them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def first_host(hosts: str) -> str:
    """Return the first host of a list as Slurm writes it, such as `node[03-07,9],gpu1`."""
    found = re.match(r"([^\[,]*)(?:\[([^\],-]*)[^\]]*\])?([^,\[]*)", hosts)
    assert found is not None
    return f"{found[1]}{found[2] or ''}{found[3]}"


def _place(index: str | None, number: str, coordinator: str | None, whose: str) -> Place | None:
    try:
        place = Place(int(index or ""), int(number), coordinator or "")
        sound = 0 <= place.process_id < place.num_processes and bool(place.address[0]) and place.address[1] > 0
    except ValueError:
        sound = False
    if not sound:
        raise BackendError(
            f"{whose} environment variables make no place among several processes: number {index!r} of {number!r}, "
            f"coordinator {coordinator!r}. Expected a number from 0, how many there are, and host:port of process 0"
        )
    return place if place.num_processes > 1 else None
