"""Waits in Airflow's triggerer for a job of a Ray cluster: it takes no worker's slot, and many share one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from threading import Event
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from pipeline.errors import TradewindError
from pipeline.progress import LogProgress


class RayJobTrigger(BaseTrigger):
    """Logs what a job tells, and fires when it has ended; ends the job when its task is cleared or marked.

    The event is {"end": a `pipeline.cluster.ray.jobs.End`}, or {"error": text} when the cluster answers no more.

    Args:
        address: str. Of the cluster.
        job: str. Its id.
        node: str. The step, for the log.
    """

    def __init__(self, address: str, job: str, node: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.address = address
        self.job = job
        self.node = node

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what makes this trigger anew."""
        return f"{__name__}.RayJobTrigger", {"address": self.address, "job": self.job, "node": self.node}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Follow the job to its end."""
        from pipeline.cluster.ray.launcher import watch

        try:
            jobs = await asyncio.to_thread(self._jobs)
            end = await watch(jobs, self.job, LogProgress(self.node), Event())
        except TradewindError as error:
            yield TriggerEvent({"error": str(error)})
        else:
            yield TriggerEvent({"end": asdict(end)})

    async def on_kill(self) -> None:
        """Ask the job to end; its processes save a checkpoint first."""
        jobs = await asyncio.to_thread(self._jobs)
        await asyncio.to_thread(jobs.ask_to_stop, self.job)

    def _jobs(self) -> Any:
        from pipeline.cluster.ray.jobs import Jobs

        return Jobs(self.address)
