"""The processes of one training on a Ray cluster: all run, or all are ended and start again from the last checkpoint.

Plain actors in a placement group, and not a trainer of Ray Train: that runs a Python function in a thread of its
worker, starts again after every exception alike, and keeps checkpoints of its own. Here a process is ended together
with the thread that started it, a loss and an error of the recipe are told apart by the exit status, and the
checkpoints are in the store.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any

from pipeline.cluster.local import GRACE_SECONDS, RETRY
from pipeline.cluster.place import COORDINATOR, NUM_PROCESSES, PROCESS_ID
from pipeline.cluster.ray.members import Member, poll, send_signal
from pipeline.cluster.ray.worker import Worker
from pipeline.cluster.relay import said
from pipeline.errors import BackendError, Interrupted, TradewindError

POLL_SECONDS = 0.2
# A cluster that makes room sooner is not worth a word.
UNTOLD_SECONDS = 10


@dataclass(frozen=True)
class Spec:
    """What a job is to run.

    Attributes:
        arguments: list of str. Of Python, the same for every process.
        processes: int. How many; 0 for a single one, beside the job itself and without a share of the cluster.
        cpus: float. Cores set aside for each.
        gpus: float. GPUs set aside for each.
        max_failures: int. How often all start again.
        start_seconds: float. How long the cluster may take to make room.
        code: str. Folder that Python looks into first, on nodes that have it.
        folder: str. Working folder, on nodes that have it.
        probe: str. A file that every node must see.
    """

    arguments: list[str]
    processes: int
    cpus: float
    gpus: float
    max_failures: int
    start_seconds: float
    code: str
    folder: str
    probe: str


class Group:
    """The processes of one training.

    Args:
        ray: module. Connected.
        spec: Spec. What is run.
        tell: callable. Gets the lines of process 0, and sentences about all in the same form.
        stop: Event. Ends all when it is set; what they save is waited for.
    """

    def __init__(self, ray: Any, spec: Spec, tell: Callable[[str], object], stop: Event) -> None:
        self.ray = ray
        self.spec = spec
        self.tell = tell
        self.stop = stop

    def run(self) -> None:
        """Run to the end, through at most `max_failures` losses.

        Raises:
            Interrupted: stopped, or lost once too often; the same call goes on from the last checkpoint.
            BackendError: the cluster is too small.
            TradewindError: a process failed, with its last lines.
        """
        most = self.spec.max_failures
        for losses in range(1, most + 2):
            told = self._try(first=losses == 1)
            if not told:
                return
            if self.stop.is_set():
                raise Interrupted(f"training was stopped: {told}; the same command goes on from the last checkpoint")
            if losses <= most:
                self.tell(said(f"{told}; starting again from the last checkpoint ({losses} of at most {most} times)"))
        raise Interrupted(
            f"training was lost {losses} times, the last time: {told}. The same command goes on from the last "
            "checkpoint; if nodes come and go, raise runtime.ray.max_failures"
        )

    def _try(self, first: bool) -> str:
        """Return how a process was lost, with nothing left of the others; an empty text when all are done."""
        from ray.exceptions import RayError, RayTaskError
        from ray.util.placement_group import placement_group, remove_placement_group

        bundle = {"CPU": self.spec.cpus} | ({"GPU": self.spec.gpus} if self.spec.gpus else {})
        room = placement_group([bundle] * self.spec.processes, strategy="SPREAD")
        members: list[Member] = []
        try:
            if not self._has_room(room, bundle, first):
                return "it had not started"
            members = self._start(room)
            return self._watch(members)
        except RayTaskError:
            raise
        except RayError as error:
            return f"a node was lost while the processes were being started ({type(error).__name__})"
        finally:
            for member in members:
                self.ray.kill(member.actor)  # and with it a process that has not ended
            remove_placement_group(room)

    def _has_room(self, room: Any, bundle: dict[str, float], first: bool) -> bool:
        """Wait until the cluster has set aside what the processes need; return False when stopped meanwhile.

        A cluster that is large enough and busy is waited for without end, one that is too small for some time.
        """
        begun = time.monotonic()
        end = begun + self.spec.start_seconds
        want, told = f"{self.spec.processes} x {bundle}", False
        while not room.wait(1):
            if self.stop.is_set():
                return False
            kinds = self.ray.cluster_resources(), self.ray.available_resources()
            there, free = ({key: kind.get(key, 0.0) for key in bundle} for kind in kinds)
            if not told and time.monotonic() > begun + UNTOLD_SECONDS:
                self.tell(said(f"waiting for {want}; the Ray cluster has {there}, of which {free} are free"))
                told = True
            if self._places(bundle) >= self.spec.processes:
                end = time.monotonic() + self.spec.start_seconds
            elif time.monotonic() > end:
                # Room that a lost node gave may come again; a small cluster does not grow.
                raise (BackendError if first else Interrupted)(
                    f"the Ray cluster did not set aside {want} within {self.spec.start_seconds:.0f} s; it has {there}, "
                    f"of which {free} are free. Add nodes, set runtime.processes, runtime.ray.cpus_per_process or "
                    "gpus_per_process to less, or wait longer: runtime.start_seconds"
                )
        return True

    def _places(self, bundle: dict[str, float]) -> int:
        """Return how many processes the nodes could hold if nothing else ran on them."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return sum(min(int(node.get(key, 0.0) // number) for key, number in bundle.items()) for node in nodes)

    def _start(self, room: Any) -> list[Member]:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        spec, remote = self.spec, self.ray.remote(Worker)
        members = []
        for number in range(spec.processes):
            where = PlacementGroupSchedulingStrategy(room, placement_group_bundle_index=number)
            options = {"num_cpus": spec.cpus, "num_gpus": spec.gpus, "scheduling_strategy": where}
            members.append(Member(number, remote.options(**options).remote()))
        place = {NUM_PROCESSES: str(spec.processes), COORDINATOR: self.ray.get(members[0].actor.address.remote())}
        places = [place | {PROCESS_ID: str(member.number)} for member in members]
        calls = [
            member.actor.start.remote(spec.arguments, own, spec.code, spec.folder)
            for member, own in zip(members, places, strict=True)
        ]
        for member, host in zip(members, self.ray.get(calls), strict=True):
            member.host = host
        return members

    def _watch(self, members: list[Member]) -> str:
        """Return what `_try` does: wait for the first that ends badly, then end the others."""
        while not self.stop.is_set() and not all(member.ended for member in members):
            self._poll(members)
            if any(member.bad for member in members):
                break
        # Seen before any is ended from here: a backend that has lost one process may fail in any way in the others.
        killed = any(member.killed for member in members)
        self._end(members)
        bad = [member for member in members if member.bad]
        told = ", ".join(str(member) for member in bad)
        failed = [member for member in bad if member.failed]
        if failed and not killed and not self.stop.is_set():
            lines = "\n".join(failed[0].written)
            raise TradewindError(f"training failed: {told}. Process {failed[0].number} wrote last:\n{lines}")
        return told

    def _end(self, members: list[Member]) -> None:
        """Let all end: those that ask to be tried again by themselves, the others by SIGTERM, at last by SIGKILL."""
        if self.stop.is_set() or any(member.bad and member.status != RETRY for member in members):
            send_signal(members, signal.SIGTERM)
        for killed in (False, True):
            if killed:
                send_signal(members, signal.SIGKILL)
            end = time.monotonic() + GRACE_SECONDS
            while not all(member.ended for member in members) and time.monotonic() < end:
                self._poll(members)

    def _poll(self, members: list[Member]) -> None:
        poll(self.ray, members, POLL_SECONDS)
        for line in members[0].fresh():
            self.tell(line)
        time.sleep(POLL_SECONDS)
