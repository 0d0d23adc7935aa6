"""The channel between process 0 and the others: JSON lines of what is to be done, checked before anything is.

It is there before any backend is, and it tells who has not come, who differs, and who was lost.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from pipeline.cluster.place import Place
from pipeline.errors import BackendError, Interrupted

Message = dict[str, Any]
RETRY_SECONDS = 0.2


class Chief:
    """Process 0's end.

    Args:
        place: Place. Its own.
        patience: float. Seconds to wait for the others to come.
        say: callable. Told who is waited for.

    Raises:
        BackendError: the port is in use.
    """

    def __init__(self, place: Place, patience: float, say: Callable[[str], None]) -> None:
        self.place = place
        self.patience = patience
        self.say = say
        self._peers: dict[int, Connection] = {}
        self._hosts: dict[int, str] = {}
        try:
            self._listener = socket.create_server(("", place.address[1]), backlog=place.num_processes)
        except OSError as error:
            raise BackendError(
                f"process 0 cannot listen on port {place.address[1]} ({error.strerror}); another job has it. Name a "
                "free port: TRADEWIND_COORDINATOR=host:port, MASTER_PORT under torchrun"
            ) from error

    def assemble(self, own: Message) -> None:
        """Wait until all others have come with the same facts as these.

        Raises:
            BackendError: some have not come in time, or one has other facts.
        """
        end = time.monotonic() + self.patience
        self._listener.settimeout(RETRY_SECONDS)
        while missing := sorted(set(range(1, self.place.num_processes)) - self._peers.keys()):
            if time.monotonic() > end:
                self.send({"error": "another process did not come"})
                raise BackendError(
                    f"process {', '.join(map(str, missing))} of {self.place.num_processes} did not come to "
                    f"{self.place.coordinator} within {self.patience:.0f} s. Start all of them, let them reach that "
                    "address, or wait longer: runtime.start_seconds"
                )
            try:
                accepted, _ = self._listener.accept()
            except TimeoutError:
                continue
            accepted.setblocking(True)
            self._welcome(Connection(accepted.detach()), own)

    def _welcome(self, peer: Connection, own: Message) -> None:
        hello = _received(peer, self.patience)
        if hello is None:
            return  # whoever it was, it was none of ours
        number = int(hello.pop("process_id"))
        self._hosts[number] = hello.pop("host")
        differing = [key for key in own if hello.get(key) != own[key]]
        if number in self._peers:
            fault = f"process {number} has come twice, the second time from {self._hosts[number]}"
        elif differing:
            fault = (
                f"process {number} on {self._hosts[number]} has another {' and another '.join(differing)} than process "
                "0; start all with the same recipe, overrides and version of the code"
            )
        else:
            self._peers[number] = peer
            return
        self._peers.setdefault(-1 - number, peer)
        self.send({"error": fault})
        raise BackendError(fault)

    def send(self, message: Message) -> None:
        """Tell all others; one that is gone is found by `lost`."""
        for peer in self._peers.values():
            try:
                peer.send_bytes(json.dumps(message).encode())
            except OSError:
                continue

    def lost(self) -> list[str]:
        """Return which of the others have gone."""
        return [f"process {number} on {self._hosts[number]}" for number, peer in self._peers.items() if _gone(peer)]

    def close(self) -> None:
        """Let the others go."""
        self.send({"done": True})
        for peer in self._peers.values():
            peer.close()
        self._listener.close()


class Follower:
    """The end of any other process.

    Args:
        place: Place. Its own.
        patience: float. Seconds to wait for process 0.

    Raises:
        BackendError: process 0 does not answer.
    """

    def __init__(self, place: Place, patience: float, own: Message) -> None:
        self.place = place
        end = time.monotonic() + patience
        while True:
            try:
                connected = socket.create_connection(place.address, timeout=patience)
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise BackendError(
                        f"process 0 did not answer at {place.coordinator} within {patience:.0f} s ({error}); start it, "
                        "correct the address, or wait longer: runtime.start_seconds"
                    ) from error
                time.sleep(RETRY_SECONDS)
        connected.setblocking(True)
        self._chief = Connection(connected.detach())
        hello = {"process_id": place.process_id, "host": socket.gethostname(), **own}
        self._chief.send_bytes(json.dumps(hello).encode())

    def receive(self) -> Message | None:
        """Return the next message of process 0; None when there is nothing more to do.

        Raises:
            Interrupted: process 0 is gone.
            BackendError: process 0 has refused to start.
        """
        try:
            message: Message = json.loads(self._chief.recv_bytes())
        except (EOFError, OSError) as error:
            raise Interrupted("process 0 was lost; run the same command again on all") from error
        if "error" in message:
            raise BackendError(message["error"])
        return None if "done" in message else message

    def lost(self) -> list[str]:
        """Return `process 0` when it is gone."""
        return ["process 0"] if _gone(self._chief) else []


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _received(peer: Connection, patience: float) -> Message | None:
    try:
        found = json.loads(peer.recv_bytes(65_536)) if peer.poll(patience) else None
    except (EOFError, OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "process_id" in found else None


def _gone(peer: Connection) -> bool:
    """Return whether the other end is closed; whatever it has sent is read by nobody any more."""
    try:
        while peer.poll(0):
            peer.recv_bytes()
    except (EOFError, OSError):
        return True
    return False
