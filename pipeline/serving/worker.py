"""One thread that does one thing at a time for an event loop, and does not keep the process from ending.

`asyncio.to_thread` and executors are waited for when the process ends, however long a call that hangs takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")


class Worker:
    """Calls functions in a thread of its own, in the order asked for.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self.busy = False
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, function: Callable[[], Result]) -> Result:
        """Return what the function returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()

        def call() -> None:
            try:
                result = function()
            except BaseException as error:
                _tell(loop, done, error, done.set_exception)
            else:
                _tell(loop, done, result, done.set_result)

        self._asked.put(call)
        return await done

    def _run(self) -> None:
        while True:
            call = self._asked.get()
            self.busy = True
            call()
            self.busy = False


def _tell(
    loop: asyncio.AbstractEventLoop, done: asyncio.Future[Result], outcome: object, tell: Callable[..., None]
) -> None:
    """Hand the outcome to the loop, unless nobody waits for it any more."""

    def hand() -> None:
        if not done.done():
            tell(outcome)

    if not loop.is_closed():
        loop.call_soon_threadsafe(hand)
