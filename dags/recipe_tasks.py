"""The tasks of a recipe's DAG: each runs one step, and passes on the reference of the artifact that the step made."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from recipe_run import create_run, current_flow, errors_decide_on_retries, run_step, show_name

logger = logging.getLogger("tradewind")

EACH_TASK = "{{ task_name }}"  # set by show_name; shown instead of the index


@task(retries=0)
def start(recipe_file: str) -> list[str]:
    """Check what the run was asked for, and record it."""
    return create_run(recipe_file)


@task
def validate() -> str:
    """Check the rows of all sources: bad rows go to quarantine, bad data stops the run."""
    return run_step("validate").reference


@task
def drift() -> str:
    """Compare the rows with those that the champions learned from."""
    return run_step("drift").reference


@task
def preprocess() -> str:
    """Clean and split the texts, train the tokenizer, pack the tokens."""
    return run_step("preprocess").reference


@task
def pretrain() -> str:
    """Train the backbone on masked tokens; another try goes on from the last checkpoint."""
    return run_step("pretrain").reference


# One at a time: each takes all cores, or the whole accelerator.
@task(map_index_template=EACH_TASK, max_active_tis_per_dagrun=1)
def finetune(name: str) -> str:
    """Train the backbone for one task; another try goes on from the last checkpoint."""
    return run_step("finetune", name).reference


@task(map_index_template=EACH_TASK)
def baseline(name: str) -> str:
    """Train the linear model that the candidate is compared with."""
    return run_step("baseline", name).reference


@task(map_index_template=EACH_TASK)
def evaluate(name: str) -> str:
    """Let the candidate answer the test rows."""
    return run_step("evaluate", name).reference


@task(map_index_template=EACH_TASK)
def gate(name: str) -> dict[str, Any]:
    """Judge the candidate by the thresholds, the baseline and the champion."""
    artifact = run_step("gate", name)
    return {"reference": artifact.reference} | {key: artifact.result[key] for key in ("verdict", "reasons")}


@task(map_index_template=EACH_TASK)
def publish(name: str, judged: dict[str, Any]) -> dict[str, str]:
    """Prove the export, register it and make it the champion; skipped when the gate has refused the candidate."""
    show_name(name)
    if judged["verdict"] != "pass":
        raise AirflowSkipException(f"not published, because the gate refused it: {' '.join(judged['reasons'])}")
    artifact = run_step("publish", name)
    with errors_decide_on_retries():
        version = current_flow().register(name)
    logger.info("publish[%s]: %s version %s is the champion", name, version.name, version.version)
    return {"reference": artifact.reference, "model": version.name, "version": str(version.version)}


@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def finish() -> str:
    """Record how the run ended and write its report; fails when a task before it has failed."""
    dag_run, this = get_current_context()["dag_run"], get_current_context()["ti"]
    states = this.get_task_states(dag_id=dag_run.dag_id, run_ids=[dag_run.run_id])[dag_run.run_id]
    failed = sorted(name for name, state in states.items() if state == "failed")
    missing = sorted(name for name, state in states.items() if state == "upstream_failed")
    if "start" in failed:
        raise AirflowFailException("the run was refused before it began; the log of `start` says why")
    report = current_flow().finish("failed" if failed or missing else "succeeded")
    logger.info("report: %s", report)
    if failed or missing:
        raise AirflowFailException(
            f"failed: {', '.join(failed)}; not run because of that: {', '.join(missing) or 'nothing'}. Each log says "
            "why; when the cause is gone, clear the failed tasks: what is finished is kept"
        )
    return str(report)
