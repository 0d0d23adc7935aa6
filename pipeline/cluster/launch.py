"""Starts the processes of a step where the recipe wants them: on this machine, or as a job of a Ray cluster.

A training never runs in a process that was forked: it gets one of its own on this machine, even if it is the only one.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cluster.local import run_processes
from pipeline.config import Recipe
from pipeline.progress import Progress
from pipeline.steps import Step

if TYPE_CHECKING:
    from pipeline.cluster.ray.launcher import Submitted, Work

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Launch:
    """A step of a recorded run, to be made by processes of its own.

    Attributes:
        recipe: Recipe. Its `runtime` says how many processes, and where.
        step: Step. What they make.
        task: str or None. Its task, where it has one.
        run_id: str. The run, whose record the processes read.
        record: Path. The file of that record, in the workspace.
        workspace: Path. Of the store, which all processes must see.
        again: bool. Whether it is computed anew although its artifact is there.
        trial: int or None. Which trial of the task's search it is.
    """

    recipe: Recipe
    step: Step
    task: str | None
    run_id: str
    record: Path
    workspace: Path
    again: bool = False
    trial: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether the step runs in other processes than the one that runs the recipe."""
        if self.step.trains:
            return self.recipe.runtime.processes > 1 or self.recipe.runtime.launcher == "ray" or was_forked()
        return self.step.spreads and self.recipe.runtime.data_engine == "ray" and self.on_a_cluster

    @property
    def on_a_cluster(self) -> bool:
        """Whether it becomes a job of a Ray cluster that lives on without this process."""
        if self.recipe.runtime.launcher != "ray":
            return False
        from pipeline.cluster.ray.launcher import address_of

        return bool(address_of(self.recipe.runtime))

    def run(self, progress: Progress) -> None:
        """Run the processes to the end, telling what process 0 tells.

        Raises:
            Interrupted: they were stopped, or one was lost; the same call goes on from the last checkpoint.
            TradewindError: one of them failed.
        """
        if self.recipe.runtime.launcher == "ray":
            from pipeline.cluster.ray.launcher import run_on_ray

            run_on_ray(self._work(), progress)
            return
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"TRADEWIND_WORKSPACE": str(self.workspace), "PYTHONPATH": path}
        run_processes(self._command(), self.recipe.runtime.processes, environment, progress)

    def submit(self, progress: Progress) -> Submitted:
        """Submit the job, unless it runs already, and leave it to itself.

        Raises:
            BackendError: Ray is not installed, or no cluster answers.
        """
        from pipeline.cluster.ray.launcher import submit

        return submit(self._work(), progress)

    def _work(self) -> Work:
        from pipeline.cluster.ray.launcher import Work

        name = "-".join(str(part) for part in (self.run_id, self.step.name, self.task, self.trial) if part)
        return Work(self._command(), name, self.recipe.runtime, self.workspace, self.record, alone=not self.step.trains)

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "pipeline.cluster.member", self.step.name, "--run", self.run_id]
        command += ["--task", self.task] if self.task else []
        command += ["--trial", str(self.trial)] if self.trial else []
        return command + (["--again"] if self.again else [])


def was_forked() -> bool:
    """Return whether this process is a copy of another, as those of Airflow's tasks are on Linux.

    It has locks that threads of the other may have held when it was copied, and no such thread to release them, so a
    backend must not be started in it. Linux marks such a process until it runs a program (PF_FORKNOEXEC in
    include/linux/sched.h, field `flags` of proc_pid_stat(5)); on macOS Airflow starts programs by itself.
    """
    stat = Path("/proc/self/stat")
    return stat.exists() and bool(int(stat.read_text().rpartition(")")[2].split()[6]) & 0x40)
