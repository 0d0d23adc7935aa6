"""The actor that holds one process of a training: it starts it, tells what it writes, and ends with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from pipeline.cluster.channel import free_port


class Worker:
    """One process of a training, on the node where its actor was placed.

    No method waits, so that the job learns within moments of a process that has ended and of an actor that is gone.
    All run on the actor's main thread: Linux ends a process with the thread that started it.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: deque[str] = deque()

    def address(self) -> str:
        """Return this node's `host:port`, with a port that nothing listens on now."""
        import ray

        host = ray.util.get_node_ip_address()
        return f"{f'[{host}]' if ':' in host else host}:{free_port()}"

    def start(self, arguments: Sequence[str], place: Mapping[str, str], code: str, folder: str) -> str:
        """Start the process, and return the name of its host.

        Args:
            arguments: sequence of str. Of this node's Python.
            place: mapping. Environment variables of its own.
            code: str. Folder that Python looks into first, where this node has it.
            folder: str. Working folder, where this node has it.
        """
        path = os.pathsep.join(filter(None, (code, os.environ.get("PYTHONPATH"))))
        self._child = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **place, "PYTHONPATH": path},
            cwd=folder if Path(folder).is_dir() else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=_ends_with_this(),
        )
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)
        self._reader.start()
        return socket.gethostname()

    def poll(self) -> tuple[list[str], int | None]:
        """Return the lines written since the last call, and the exit status once there are no more lines."""
        assert self._child is not None and self._reader is not None
        status = self._child.poll()
        if status is not None:
            self._reader.join(1.0)  # something it started may hold its output open for ever
        return [self._lines.popleft() for _ in range(len(self._lines))], status

    def signal(self, number: int) -> None:
        """Send the process a signal; SIGKILL goes to all that it has started too."""
        if self._child is None or self._child.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(self._child.pid, number)
        else:
            self._child.send_signal(number)

    def _read(self, stream: IO[str]) -> None:
        self._lines.extend(line.rstrip("\n") for line in stream)


def _ends_with_this() -> Callable[[], None]:
    """Return what the process does before it begins, so that none is left when this one is killed."""
    parent = os.getpid()

    def prepare() -> None:
        os.setpgrp()
        if sys.platform == "linux":
            import ctypes

            # SIGKILL, not SIGTERM: one that still saved something would meet those that were started again.
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)

    return prepare
