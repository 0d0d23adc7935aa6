"""A DAG run as a run of the store: its record, its steps, its progress in the log, and which errors are retried."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import Connection, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from airflow_plugin.runs import record_of, settings
from pipeline.config import Recipe, SqlSource
from pipeline.errors import (
    BackendError,
    ClusterError,
    DriftError,
    IntegrityError,
    RecipeError,
    SourceError,
    ValidationFailed,
)
from pipeline.flow import Flow
from pipeline.progress import LogProgress, Progress
from pipeline.recipes import load_recipe
from pipeline.steps import GRAPH, node_name
from pipeline.store import Artifact
from recipe_form import read_force, read_form
from recipe_notify import require_connections
from recipe_schedule import dates_of_run

if TYPE_CHECKING:
    from pipeline.cluster.ray.jobs import End
    from pipeline.cluster.ray.launcher import Submitted

logger = logging.getLogger("tradewind")

EACH_TASK = "{{ task_name }}"  # what Airflow shows of a mapped task, instead of its index: set by show_name

# Errors that the next try would meet again.
HOPELESS = (RecipeError, SourceError, ValidationFailed, DriftError, BackendError, IntegrityError)


def create_run(file: str) -> list[str]:
    """Record the run of a recipe with the values of the trigger form; return the names of the tasks to run."""
    dag_run = get_current_context()["dag_run"]
    with errors_decide_on_retries():
        recipe = load_recipe(file)
        tasks, overrides = read_form(recipe, dag_run.conf or {})
        laid, recipe = recipe, load_recipe(file, overrides)
        check_scratch(file, laid, recipe)
        check_approval(file, laid, recipe)
        force, dates = force_of_run(), dates_of_run(laid.airflow)
        require_connections(laid)
        flow = Flow.create(recipe, file, settings(), run_id=run_id(), trigger="airflow", dates=dates)
    logger.info("run %s of %s; tasks: %s", flow.run_id, file, ", ".join(tasks))
    logger.info("date: %s to %s", dates.start.isoformat(), dates.end.isoformat())
    for override in overrides:
        logger.info("with %s", override)
    if force is not None:
        logger.info("published whatever the verdict: %s", force)
    return tasks


def check_scratch(file: str, laid: Recipe, recipe: Recipe) -> None:
    """Raise RecipeError when the form asks for a training that the DAG was laid without."""
    asking = [name for name in recipe.tasks if GRAPH["scratch"].asked(recipe, name)]
    if asking and not has_scratch(laid):
        raise RecipeError(
            f"overrides: received tasks.{asking[0]}.gate.scratch={recipe.tasks[asking[0]].gate.scratch}, and this DAG "
            f"has no step that trains it; set gate.scratch of a task in {file}, and the DAG gets the step"
        )


def check_approval(file: str, laid: Recipe, recipe: Recipe) -> None:
    """Raise RecipeError when the form asks for an approval that the DAG was laid without."""
    if recipe.publish.approval and not laid.publish.approval:
        raise RecipeError(
            "overrides: received publish.approval, and this DAG has no step that asks anybody; set publish.approval in "
            f"{file}, and the DAG gets the step"
        )


def has_scratch(recipe: Recipe) -> bool:
    """Return whether any task of a recipe asks for the same model without pretraining."""
    return any(GRAPH["scratch"].asked(recipe, name) for name in recipe.tasks)


def run_step(name: str, task: str | None = None, end: End | None = None, trial: int | None = None) -> Artifact:
    """Run one step of this DAG run's recipe, or take over what a job that has ended made; return its artifact."""
    if task and not trial:
        show_name(task)
    with errors_decide_on_retries():
        flow = current_flow()
        if name == "validate":
            export_connections(flow.recipe)
        return flow.step(name, task, LogDisplay(), end=end, trial=trial)


def is_asked(name: str, task: str | None) -> bool:
    """Return whether this DAG run's recipe has the step, for this task."""
    if not GRAPH[name].asked_by:
        return True
    if task:
        show_name(task)
    with errors_decide_on_retries():
        return GRAPH[name].asked(current_flow().recipe, task)


def submit_step(name: str, task: str | None = None, trial: int | None = None) -> Submitted | None:
    """Submit a step to the recipe's Ray cluster; None when it is to be run, or kept, here."""
    if task and not trial:
        show_name(task)
    with errors_decide_on_retries():
        return current_flow().submit(name, task, LogProgress(node_name(name, task, trial)), trial)


def propose_trials(tasks: list[str], number: int) -> list[dict[str, Any]]:
    """Return the trials of a round of the tasks' searches, as arguments of the tasks that run them."""
    with errors_decide_on_retries():
        flow = current_flow()
        trials = [(task, trial) for task in tasks for trial in flow.open_trials(task, number)]
    for task, trial in trials:
        logger.info(trial.label(task))
    return [{"recipe_task": task, "trial": trial.number, "shown_as": trial.label(task)} for task, trial in trials]


def export_connections(recipe: Recipe) -> None:
    """Put the Airflow connections that the recipe's sources name into this process's environment, and nowhere else."""
    for key, source in recipe.data.sources.items():
        if not isinstance(source, SqlSource) or source.connection is None:
            continue
        try:
            connection = Connection.get(source.connection)
        except AirflowNotFoundException:
            raise SourceError(
                f"data.sources.{key}.connection is {source.connection!r}, and Airflow has no such connection; add it "
                f"under Admin, Connections, or: airflow connections add {source.connection} --conn-uri URI"
            ) from None
        os.environ[f"AIRFLOW_CONN_{source.connection.upper()}"] = connection.get_uri()


def show_name(task: str) -> None:
    """Let Airflow show the name of the recipe's task where it would show the index of a mapped task."""
    cast("dict[str, object]", get_current_context())["task_name"] = task


def current_flow() -> Flow:
    """Return the flow that the first task of this DAG run has recorded."""
    flow = Flow.resume(run_id(), settings())
    flow.force = force_of_run()
    return flow


def force_of_run() -> str | None:
    """Return why this DAG run publishes whatever the verdict, None when it does not."""
    dag_run = get_current_context()["dag_run"]
    return read_force(dag_run.conf or {}, getattr(dag_run, "triggering_user_name", None))


def run_id() -> str:
    """Return the name of the run's record: the same for every task and try of this DAG run, and for no other."""
    dag_run = get_current_context()["dag_run"]
    return record_of(dag_run.dag_id, dag_run.run_id)


@contextmanager
def errors_decide_on_retries() -> Iterator[None]:
    """Fail at once on what the next try would meet again; anything else, an interruption above all, is retried."""
    try:
        yield
    except ClusterError:
        raise
    except HOPELESS as error:
        raise AirflowFailException(str(error)) from None


class LogDisplay:
    """Shows the steps of a run as lines of the task's log."""

    @contextmanager
    def step(self, node: str) -> Iterator[Progress]:
        """Log that `node` is at work, and its progress."""
        logger.info("%s: started", node)
        yield LogProgress(node)

    def finished(self, node: str, hit: bool, seconds: float, summary: str) -> None:
        """Log that `node` is done."""
        done = "kept from an earlier run" if hit else f"done in {seconds:.1f} s"
        logger.info("%s: %s; %s", node, done, summary)
