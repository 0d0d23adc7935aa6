"""What a job knows of its processes on other nodes, as far as they have told."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.cluster.local import KEPT_LINES, RETRY, named
from pipeline.cluster.relay import MARK


@dataclass
class Member:
    """One process and the actor that holds it.

    Attributes:
        number: int. Its place.
        actor: handle. Of a `Worker`.
        host: str. Where it runs.
        status: int or None. Of its end; negative for a signal.
        gone: str. Ray's error, when the actor has gone.
        written: deque of str. Its last lines that are no reports.
    """

    number: int
    actor: Any
    host: str = ""
    status: int | None = None
    gone: str = ""
    written: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _fresh: deque[str] = field(default_factory=deque)
    _asked: Any = None

    def __str__(self) -> str:
        how = f"was lost ({self.gone})" if self.gone else f"ended with {named(self.status or 0)}"
        return f"process {self.number} on {self.host} {how}"

    @property
    def ended(self) -> bool:
        """Whether there is nothing left of it to wait for."""
        return self.status is not None or bool(self.gone)

    @property
    def bad(self) -> bool:
        """Whether it has ended before its work was done."""
        return bool(self.status) or bool(self.gone)

    @property
    def killed(self) -> bool:
        """Whether it was ended by something else than what it worked on."""
        return bool(self.gone) or self.status == -signal.SIGKILL

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error that would come again."""
        return self.status is not None and self.status > 0 and self.status != RETRY

    def ask(self) -> Any:
        """Return the answer to come of the actor: the one that is still outstanding, or to a new question."""
        self._asked = self._asked or self.actor.poll.remote()
        return self._asked

    def take(self, ray: Any) -> None:
        """Note what the actor has answered, or that there is none any more."""
        from ray.exceptions import RayError

        answer, self._asked = self._asked, None
        try:
            lines, self.status = ray.get(answer)
        except RayError as error:
            self.gone = type(error).__name__
            return
        self._fresh.extend(lines)
        self.written.extend(line for line in lines if line and not line.startswith(MARK))

    def fresh(self) -> Iterator[str]:
        """Yield the lines that have come since the last call."""
        while self._fresh:
            yield self._fresh.popleft()


def poll(ray: Any, members: Sequence[Member], seconds: float) -> None:
    """Ask all that run for what is new; one whose node does not answer in this time is taken at a later call."""
    asked = {member.ask(): member for member in members if not member.ended}
    if asked:
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
        for answer in ready:
            asked[answer].take(ray)


def send_signal(members: Sequence[Member], number: signal.Signals) -> None:
    """Send a signal to all that run."""
    for member in members:
        if not member.ended:
            member.actor.signal.remote(int(number))
