"""What the tasks of a DAG may take: tries, time, slots of a pool, and how long the whole run may go on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, DeadlineAlert, DeadlineReference, SyncCallback
from airflow.sdk.definitions.mappedoperator import MappedOperator

from pipeline.config import Recipe
from pipeline.config.airflow import Airflow
from pipeline.steps import GRAPH
from recipe_run import settings

# They compute on the accelerator: `gate` lets the champion answer, `publish` proves the export.
COMPUTING = ("pretrain", "trial", "finetune", "scratch", "evaluate", "gate", "publish")
LONGEST_DELAY = timedelta(hours=1)


def default_args(how: Airflow) -> dict[str, Any]:
    """Return what every task of a recipe has, unless it says otherwise."""
    return {
        "owner": how.owner,
        "retries": how.retries,
        "retry_delay": timedelta(seconds=how.retry_delay_seconds),
        "retry_exponential_backoff": how.retry_backoff,
        "max_retry_delay": LONGEST_DELAY,
    }


def limit_steps(dag: DAG, recipe: Recipe) -> None:
    """Set the time and the slots that each step in a DAG may take."""
    machine = settings()
    pool, slots = recipe.airflow.pool or machine.pool, recipe.airflow.pool_slots or machine.pool_slots
    for task in dag.tasks:
        step = task.task_id.rpartition(".")[2]
        if step not in GRAPH:
            continue
        limits: dict[str, Any] = {"execution_timeout": timedelta(hours=recipe.airflow.timeout(step))}
        if pool and step in COMPUTING:
            limits |= {"pool": pool, "pool_slots": slots}
        (task.partial_kwargs if isinstance(task, MappedOperator) else vars(task)).update(limits)


def deadlines(recipe: Recipe) -> list[DeadlineAlert] | None:
    """Return the alerts of a run that goes on for too long, one for each connection that is told."""
    how = recipe.airflow
    if how.deadline_minutes is None:
        return None
    sentence = f"{recipe.name}: a run is still going after {how.deadline_minutes:g} minutes"
    return [
        DeadlineAlert(
            name=f"late, told to {connection}",
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(minutes=how.deadline_minutes),
            callback=SyncCallback(
                "recipe_notify.Lateness",
                kwargs={
                    "connection": connection,
                    "title": sentence,
                    "body": "{{ dag_run.dag_run_id }}",
                    "severity": "warning",
                },
            ),
        )
        for connection in how.notify.to
    ]
