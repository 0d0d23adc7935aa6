"""The DAG that watches the published models of a recipe, `NAME.monitor`, when the recipe has a section `monitor`.

    [ compare -> alert   ]
    [ compare -> retrain ]   where monitor.retrain asks
      once per task of the recipe

`alert` fails when a model is asked other texts than it knows, or answers otherwise, and says what has moved.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from pipeline.config import Recipe
from pipeline.recipes import load_recipe
from pipeline.registry import Registry
from recipe_limits import default_args
from recipe_notify import notifiers, require_connections
from recipe_run import EACH_TASK, errors_decide_on_retries, settings, show_name
from recipe_schedule import clock_of, first_day

logger = logging.getLogger("tradewind")


def monitor_dag(file: Path, recipe: Recipe) -> DAG:
    """Return the DAG that watches what a recipe has published."""
    assert recipe.monitor is not None
    with DAG(
        f"{recipe.name}.monitor",
        description=f"Have the texts that the models of {recipe.name} are asked moved from those they know?",
        schedule=clock_of(recipe.monitor),
        start_date=first_day(recipe),
        catchup=False,
        auto_register=False,
        max_active_runs=1,
        tags={*recipe.airflow.tags, "monitor"},
        doc_md=__doc__,
        default_args=default_args(recipe.airflow),
    ) as dag:
        _lay_tasks(file, recipe, recipe.monitor.retrain)
    dag.validate()
    return dag


def _lay_tasks(file: Path, recipe: Recipe, retrains: bool) -> None:
    """Lay the tasks into the DAG that is being made."""
    comparing = compare.override(on_failure_callback=notifiers(recipe, "failure"))
    alerting = alert.override(on_failure_callback=notifiers(recipe, "drift"))

    @task_group(tooltip="One published model: compared with what it is asked")
    def model(name: str) -> None:
        found = comparing(str(file), name)
        alerting(found)
        if retrains:
            from recipe_retrain import Retrain

            Retrain(
                task_id="retrain",
                trigger_dag_id=recipe.name,
                trigger_run_id=found["retrain_as"],
                conf={"tasks": [found["task"]]},
                logical_date=None,
                skip_when_already_exists=True,
                map_index_template=EACH_TASK,
            )

    model.expand(name=list(recipe.tasks))


@task(map_index_template=EACH_TASK)
def compare(recipe_file: str, name: str) -> dict[str, Any]:
    """Compare what the champion is asked and answers with what it was trained and tested on."""
    show_name(name)
    with errors_decide_on_retries():
        recipe = load_recipe(recipe_file)
        require_connections(recipe)
        return watch(recipe, name)


@task(map_index_template=EACH_TASK, retries=0)
def alert(found: dict[str, Any]) -> None:
    """Fail when something has moved beyond its limit."""
    show_name(found["task"])
    if found["moved"]:
        what = f"{found['model']} version {found['version']} is asked other texts than it knows:"
        raise AirflowFailException("\n".join([what, *found["moved"], f"Report: {found['page']}"]))


def watch(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return what has moved for the champion of a task, and the run that is to train another, if one is.

    Raises:
        AirflowSkipException: it has no champion yet.
        SourceError: there is no log of it, or too short a one.
    """
    from pipeline.monitoring.monitor import monitor

    how, model = recipe.monitor, recipe.publish.registered_model.format(recipe=recipe.name, task=name)
    assert how is not None
    champion = Registry.for_workspace(settings()).champion(model)
    if champion is None:
        raise AirflowSkipException(f"{model} has no champion yet; nothing is served that could drift")
    since = get_current_context()["dag_run"].run_after - timedelta(hours=how.hours) if how.hours else None
    workspace = settings().workspace
    logs = Path(how.log) if how.log else workspace / "served"
    out = workspace / "reports" / "monitor" / model
    found = monitor(champion.bundle, model, champion.version, logs / model, since, out)
    for metric in found.metrics:
        verdict = "passed" if metric.passed else "MOVED"
        logger.info("%s %s: observed %.4f, at most %g", verdict, metric.name, metric.value, metric.limit)
    logger.info("%s version %s, %d answers; report: %s", model, champion.version, found.rows, found.page)
    return {
        "task": name,
        "model": model,
        "version": str(champion.version),
        "rows": found.rows,
        "moved": [metric.sentence for metric in found.moved],
        "page": str(found.page),
        "retrain_as": f"drift-{name}-{champion.version}" if found.moved else None,
    }
