"""Requests answered together: whatever came in while the model was busy is its next batch.

Nothing waits for a batch to fill up. An idle model is asked at once; a busy one finds a larger batch the busier it was,
and a batch of short texts takes hardly longer than one text (`benchmarks/serve.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.serving.hosted import Hosted
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.schema import Question
from pipeline.serving.worker import Worker

logger = logging.getLogger("tradewind")
Said = list[dict[str, Any]]


class Busy(Exception):
    """Too many texts wait already, or these have waited too long."""


@dataclass(eq=False)
class Request:
    """A question on its way, and where its answer goes: the version that answered, and what it said."""

    client: str
    question: Question
    answered: asyncio.Future[tuple[Hosted, Said]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def size(self) -> int:
        """Number of texts."""
        return len(self.question.texts)


class Batcher:
    """Asks the model what clients ask, in batches; clients take turns.

    Args:
        hosted: answers from the next batch on; assign another version to it to swap.
        limits: of a batch and of the queue.
        metrics: told of every batch.
    """

    def __init__(self, hosted: Hosted, limits: Limits, metrics: Metrics) -> None:
        self.hosted = hosted
        self.limits = limits
        self.metrics = metrics
        self.worker = Worker("model")
        self.waiting = 0  # texts
        self._queues: dict[str, deque[Request]] = {}  # of each client; the next one's first
        self._some = asyncio.Event()

    async def ask(self, client: str, question: Question) -> tuple[Hosted, Said]:
        """Return the answer, and the version that gave it; a cancelled call leaves the queue.

        Raises Busy: the queue is full, or the model has not answered within `max_wait`.
        """
        request = Request(client, question)
        if self.waiting + request.size > self.limits.most_waiting:
            raise Busy(f"{self.waiting} texts wait already, and at most {self.limits.most_waiting} may")
        self._queues.setdefault(client, deque()).append(request)
        self._count(request.size)
        self._some.set()
        try:
            async with asyncio.timeout(self.limits.max_wait):
                return await request.answered
        except TimeoutError:
            raise Busy(f"the model has not answered within {self.limits.max_wait:g} s") from None
        finally:
            self._forget(request)

    async def run(self) -> None:
        """Ask batch after batch, for ever."""
        while True:
            await self._some.wait()
            batch = self._next_batch()
            if not self._queues:
                self._some.clear()
            if batch:
                await self._answer(batch)

    def _next_batch(self) -> list[Request]:
        """Take requests from the queue, one of each client in turn, as many as make no more than `max_batch` texts."""
        batch: list[Request] = []
        size = 0
        while self._queues:
            client, queue = next(iter(self._queues.items()))
            if size + queue[0].size > self.limits.max_batch:
                break
            batch.append(queue.popleft())
            size += batch[-1].size
            del self._queues[client]
            if queue:
                self._queues[client] = queue
        self._count(-size)
        return batch

    async def _answer(self, batch: list[Request]) -> None:
        hosted, start = self.hosted, time.perf_counter()
        try:
            said = await self.worker.do(partial(answer_together, hosted, [request.question for request in batch]))
        except Exception as error:
            if len(batch) > 1:  # one of them must not spoil the answers of the others
                logger.warning("a batch of %d requests failed (%s); each is asked alone", len(batch), error)
                for request in batch:
                    await self._answer([request])
            elif not batch[0].answered.done():
                batch[0].answered.set_exception(error)
            return
        self.metrics.batch(sum(request.size for request in batch), time.perf_counter() - start)
        for request, answers in zip(batch, said, strict=True):
            if not request.answered.done():
                request.answered.set_result((hosted, answers))

    def _forget(self, request: Request) -> None:
        queue = self._queues.get(request.client)
        if queue and request in queue:
            queue.remove(request)
            self._count(-request.size)
            if not queue:
                del self._queues[request.client]

    def _count(self, texts: int) -> None:
        self.waiting += texts
        self.metrics.queue.set(self.waiting)


def answer_together(hosted: Hosted, questions: list[Question]) -> list[Said]:
    """Return the answers to each question, all of them asked at once."""
    texts = [text for question in questions for text in question.texts]
    pairs = [pair for question in questions for pair in question.pairs or [None] * len(question.texts)]
    top = max(question.top for question in questions)
    every = iter(hosted.answer(texts, pairs if any(pair is not None for pair in pairs) else None, top))
    return [[_cut(next(every), question.top) for _ in question.texts] for question in questions]


def _cut(said: dict[str, Any], top: int) -> dict[str, Any]:
    return {**said, "top": said["top"][:top]} if "top" in said else said
