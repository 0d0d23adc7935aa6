"""The tasks of a recipe's DAG: each runs one step, and passes on the reference of the artifact that the step made."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import BaseOperator, Context, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from airflow_plugin.ray_job import RayJobTrigger
from pipeline.cluster.ray.jobs import End
from pipeline.errors import ClusterError
from pipeline.steps import node_name
from pipeline.store import Artifact
from recipe_assets import BACKBONES, MODELS, publish_model, tell_of_backbone
from recipe_links import DataDocs, MlflowRun
from recipe_run import (
    EACH_TASK,
    create_run,
    current_flow,
    errors_decide_on_retries,
    is_asked,
    propose_trials,
    run_step,
    show_name,
    submit_step,
)

logger = logging.getLogger("tradewind")


@task(retries=0)
def start(recipe_file: str) -> list[str]:
    """Check what the run was asked for, and record it."""
    return create_run(recipe_file)


@task
def drift() -> str:
    """Compare the rows with those that the champions learned from."""
    return run_step("drift").reference


class LaunchedStep(BaseOperator):
    """Runs a step of the recipe here or, when the recipe has a Ray cluster, submits it there and waits.

    While it waits it takes no worker's slot: the job is watched by Airflow's triggerer, and its lines stand in the log.
    A try that finds the job of an earlier one running goes on with it.

    Args:
        step: str. Its name.
        recipe_task: str or None. The task of the recipe, where the step has one.
        trial: int or None. Which trial of the task's search.
        shown_as: str or None. What Airflow shows of a mapped task; default: the task of the recipe.
    """

    template_fields = ("recipe_task",)
    ui_color = "#e8f1fb"
    operator_extra_links = (DataDocs(), MlflowRun())

    def __init__(
        self,
        *,
        step: str,
        recipe_task: str | None = None,
        trial: int | None = None,
        shown_as: str | None = None,
        **how: Any,
    ) -> None:
        super().__init__(**{"task_id": step} | how)
        self.step = step
        self.recipe_task = recipe_task
        self.trial = trial
        self.shown_as = shown_as

    def execute(self, context: Context) -> str | None:  # noqa: ARG002 (given by Airflow)
        """Run the step and return its artifact's reference, or wait for its job; None when it was not asked for."""
        if self.shown_as:
            show_name(self.shown_as)
        node = node_name(self.step, self.recipe_task, self.trial)
        if not is_asked(self.step, self.recipe_task):
            logger.info("%s: the recipe does not ask for it", node)
            return None
        if (submitted := submit_step(self.step, self.recipe_task, self.trial)) is None:
            return self._told(run_step(self.step, self.recipe_task, trial=self.trial))
        trigger = RayJobTrigger(submitted.address, submitted.job, node)
        raise TaskDeferred(trigger=trigger, method_name="take_over", kwargs={"there": submitted.there})

    def take_over(self, context: Context, event: dict[str, Any], there: bool) -> str | None:
        """Return the artifact that the job has made; submit another when it was being stopped when it was found."""
        if "error" in event:
            raise ClusterError(event["error"])
        end = End(**event["end"])
        if there and end.status is None:
            return self.execute(context)
        if self.shown_as:
            show_name(self.shown_as)
        return self._told(run_step(self.step, self.recipe_task, end, self.trial))

    def _told(self, artifact: Artifact) -> str:
        """Return the reference of what was made, and tell of a backbone that is another than before."""
        if self.step == "pretrain":
            tell_of_backbone(artifact)
        return artifact.reference


def validate() -> LaunchedStep:
    """Check the rows of all sources: bad rows go to quarantine, bad data stops the run."""
    return LaunchedStep(step="validate", doc_md=validate.__doc__)


def preprocess() -> LaunchedStep:
    """Clean and split the texts, train the tokenizer, pack the tokens."""
    return LaunchedStep(step="preprocess", doc_md=preprocess.__doc__)


def pretrain() -> LaunchedStep:
    """Train the backbone; another try goes on from the last checkpoint."""
    return LaunchedStep(step="pretrain", doc_md=pretrain.__doc__, outlets=[BACKBONES])


@task(trigger_rule=TriggerRule.NONE_FAILED)
def propose(names: list[str], number: int) -> list[dict[str, Any]]:
    """Propose the next trials of the searches, from what the trials before them found."""
    return propose_trials(names, number)


def trial(proposed: Any, at_once: int) -> Any:
    """Train the backbone with the values of one trial; another try goes on from the last checkpoint."""
    return LaunchedStep.partial(
        task_id="trial",
        step="trial",
        doc_md=trial.__doc__,
        map_index_template=EACH_TASK,
        max_active_tis_per_dagrun=at_once,
    ).expand_kwargs(proposed)


def finetune(name: str, follows: TriggerRule = TriggerRule.ALL_SUCCESS) -> LaunchedStep:
    """Train the backbone for one task, or keep the best of its trials; another try goes on from the last checkpoint."""
    # One at a time: each takes all cores, or the whole accelerator.
    return LaunchedStep(
        step="finetune",
        recipe_task=name,
        doc_md=finetune.__doc__,
        map_index_template=EACH_TASK,
        max_active_tis_per_dagrun=1,
        trigger_rule=follows,
    )


def scratch(name: str) -> LaunchedStep:
    """Train the same model without pretraining, for the tasks that ask for it; another try goes on."""
    return LaunchedStep(
        step="scratch",
        recipe_task=name,
        doc_md=scratch.__doc__,
        map_index_template=EACH_TASK,
        max_active_tis_per_dagrun=1,
    )


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


@task(map_index_template=EACH_TASK, outlets=[MODELS], trigger_rule=TriggerRule.NONE_FAILED)
def publish(name: str, judged: dict[str, Any]) -> dict[str, Any]:
    """Prove the export, register it and make it the champion; skipped when the gate or a person has refused it."""
    show_name(name)
    with errors_decide_on_retries():
        if refused := current_flow().stays_back(name):
            raise AirflowSkipException(f"not published, because {refused}: {' '.join(judged['reasons'])}")
    version, published = publish_model(name)
    if version.withdrawn is not None:
        raise AirflowSkipException(version.stays_back)
    logger.info("publish[%s]: %s version %s is the champion", name, version.name, version.version)
    return published


@task(trigger_rule=TriggerRule.ALL_DONE, retries=0)
def finish() -> str:
    """Record how the run ended and write its report; fails when a task before it has failed."""
    dag_run, this = get_current_context()["dag_run"], get_current_context()["ti"]
    states = this.get_task_states(dag_id=dag_run.dag_id, run_ids=[dag_run.run_id])[dag_run.run_id]
    failed = sorted(name for name, state in states.items() if state == "failed")
    missing = sorted(name for name, state in states.items() if state == "upstream_failed")
    if "start" in failed:
        raise AirflowFailException("the run was refused before it began; the log of `start` says why")
    flow = current_flow()
    report = flow.finish("failed" if failed or missing else "succeeded")
    logger.info("report: %s", report)
    if failed or missing:
        stopped = f"failed: {', '.join(failed)}; not run because of that: {', '.join(missing) or 'nothing'}."
        advice = "Each log says why; when the cause is gone, clear the failed tasks: what is finished is kept"
        nodes = flow.store.runs.load(flow.run_id)["nodes"]
        why = [f"{node}: {entry['error']}" for node, entry in nodes.items() if entry.get("error")]
        raise AirflowFailException("\n".join([f"{stopped} {advice}", *why]))
    return str(report)
