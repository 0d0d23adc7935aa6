"""Starts the processes of a step that trains, where the recipe wants them, and waits until its artifact is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline.cluster.local import run_processes
from pipeline.config import Recipe
from pipeline.progress import Progress

ROOT = Path(__file__).resolve().parents[2]


def launches(recipe: Recipe) -> bool:
    """Return whether the steps that train run in other processes than the one that runs the recipe."""
    return recipe.runtime.processes > 1 or recipe.runtime.launcher == "ray"


def launch(
    recipe: Recipe, step: str, task: str | None, run_id: str, again: bool, workspace: Path, progress: Progress
) -> None:
    """Run a step of a recorded run in processes of its own, to the end.

    Args:
        recipe: Recipe. Its `runtime` says how many processes, and where.
        step: str. Its name.
        task: str or None. Its task, where it has one.
        run_id: str. The run, whose record the processes read.
        again: bool. Whether it is computed anew although its artifact is there.
        workspace: Path. Of the store, which all processes must see.
        progress: Progress. Told what process 0 tells.

    Raises:
        Interrupted: they were stopped, or one was lost; the same call goes on from the last checkpoint.
        TradewindError: one of them failed.
    """
    command = [sys.executable, "-m", "pipeline.cluster.member", step, "--run", run_id]
    command += ["--task", task] if task else []
    command += ["--again"] if again else []
    if recipe.runtime.launcher == "ray":
        from pipeline.cluster.ray.launcher import run_on_ray

        run_on_ray(command, recipe.runtime, workspace, "-".join(filter(None, (run_id, step, task))), progress)
        return
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"TRADEWIND_WORKSPACE": str(workspace), "PYTHONPATH": path}
    run_processes(command, recipe.runtime.processes, environment, progress)
