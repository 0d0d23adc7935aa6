"""Follows an alias: when it moves, the new version is loaded beside the old one and takes over between two batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.errors import TradewindError
from pipeline.registry import Registry, Version
from pipeline.serving.batching import Batcher
from pipeline.serving.hosted import Hosted
from pipeline.serving.metrics import Metrics
from pipeline.serving.worker import Worker

LONGEST_PAUSE = 600.0  # seconds between two tries of a version that does not load

logger = logging.getLogger("tradewind")


@dataclass
class Refusal:
    """A version that did not load, and when it is tried again (`time.monotonic`)."""

    version: tuple[str, Path]
    tries: int
    again: float


class Watcher:
    """Looks up the alias every `interval` seconds; `problem` says what is wrong, None while all is well.

    Args:
        registry: where the alias is looked up.
        batcher: answers with the version that this one finds.
        load: makes a version ready to answer.
        interval: seconds between two looks.
        metrics: told of swaps and of the registry.
    """

    def __init__(
        self,
        registry: Registry,
        batcher: Batcher,
        load: Callable[[Version], Hosted],
        interval: float,
        metrics: Metrics,
    ) -> None:
        self.registry = registry
        self.batcher = batcher
        self.load = load
        self.interval = interval
        self.metrics = metrics
        self.problem: str | None = None
        self.worker = Worker("registry")
        self._refusal: Refusal | None = None

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(self.interval)
            await self.look()

    async def look(self) -> None:
        """Follow the alias once; whatever goes wrong, the present version goes on answering."""
        serving = self.batcher.hosted
        name, alias = serving.version.name, serving.alias
        try:
            version = await self.worker.do(partial(self.registry.aliased, name, alias))
        except Exception as error:
            self.metrics.registry_up.set(0)
            self._report(f"the registry cannot be asked for {name}@{alias}", error)
            return
        self.metrics.registry_up.set(1)
        if version is None:
            self._report(f"{name} has no alias {alias!r} any more; version {serving.version.version} goes on answering")
        elif _identity(version) == _identity(serving.version):
            self._refusal = None
            self._report(None)
        elif (
            not self._refusal or self._refusal.version != _identity(version) or time.monotonic() >= self._refusal.again
        ):
            await self._take_over(version)

    async def _take_over(self, version: Version) -> None:
        serving = self.batcher.hosted.version
        try:
            hosted = await self.worker.do(partial(self.load, version))
        except Exception as error:
            tries = self._refusal.tries + 1 if self._refusal and self._refusal.version == _identity(version) else 1
            pause = min(self.interval * 2**tries, LONGEST_PAUSE)
            self._refusal = Refusal(_identity(version), tries, time.monotonic() + pause)
            self.metrics.swaps.labels("failed").inc()
            self._report(
                f"{version.name} version {version.version} does not load; version {serving.version} goes on answering",
                error,
            )
            return
        self.batcher.hosted = hosted
        self._refusal = None
        self.metrics.swaps.labels("done").inc()
        self.metrics.serving(hosted.describe())
        self._report(None)
        logger.info("%s version %s answers now instead of %s", version.name, version.version, serving.version)

    def _report(self, problem: str | None, cause: Exception | None = None) -> None:
        """Log a problem when it is new, and its end; causes name addresses and paths, which clients need not know."""
        if problem and problem != self.problem:
            logger.warning(f"{problem}: {_said(cause)}" if cause else problem)
        elif self.problem and not problem:
            logger.info("solved: %s", self.problem)
        self.problem = problem


def _identity(version: Version) -> tuple[str, Path]:
    """Return number and files: a model that was deleted and made anew counts its versions from 1 again."""
    return version.version, version.bundle


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, TradewindError) else f"{type(error).__name__}: {error}"
