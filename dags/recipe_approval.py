"""The task that asks a person whether a candidate is published, by Airflow's own human-in-the-loop operator."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseNotifier, Context, Param, get_current_context
from airflow.sdk.configuration import conf
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowSkipException

from pipeline.flow import Flow
from pipeline.judge.question import question
from recipe_run import current_flow, errors_decide_on_retries

logger = logging.getLogger("tradewind")

APPROVE, REJECT = "Approve", "Reject"
REASON = "reason"
TRIES, SECONDS_BETWEEN = 5, 5  # an answer without a reason, which only REST lets pass, is asked for again


class Approval(HITLOperator):
    """Asks whether the candidate of a recipe's task is published, and waits without a worker's slot.

    Nobody is asked about what the gate has refused, what a run forces, and what is champion already.

    Args:
        recipe_task: str. The task of the recipe.
    """

    template_fields = ("recipe_task",)
    ui_color = "#fdf3d8"

    def __init__(self, *, recipe_task: str, **how: Any) -> None:
        super().__init__(subject="Publish?", options=[APPROVE, REJECT], defaults=REJECT, **how)
        self.recipe_task = recipe_task

    def execute(self, context: Context) -> Any:
        """Ask, with the verdict at hand; skip where there is nothing to ask."""
        with errors_decide_on_retries():
            flow = current_flow()
            if not flow.ask(self.recipe_task):
                raise AirflowSkipException(f"nobody is asked: {flow.stays_back(self.recipe_task) or 'nothing is open'}")
            self.subject, self.body = _question(flow, self.recipe_task)
            approval, review = flow.recipe.publish.approval, flow.verdict(self.recipe_task) == "needs_review"
        assert approval is not None
        self.params = _form()
        self.defaults = [APPROVE if approval.default == "approve" and not review else REJECT]
        self.response_timeout = timedelta(hours=approval.timeout_hours)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the answer, or that there was none in time."""
        with errors_decide_on_retries():
            flow = current_flow()
            approval = flow.recipe.publish.approval
            if event.get("timedout"):
                who, why = None, f"nobody answered within {approval.timeout_hours:g} hours" if approval else ""
            else:
                self.params = _form()
                super().execute_complete(context, event)
                who, why = event["responded_by_user"]["name"], _reason(event["params_input"])
            decision = flow.decide(self.recipe_task, event["chosen_options"] == [APPROVE], who, why)
        logger.info("%s was %s", self.recipe_task, decision.text)
        return decision.text


def approve(name: str, notifiers: list[BaseNotifier]) -> Approval:
    """Ask a person whether the candidate is published; until the answer the run waits."""
    return Approval(
        task_id="approve",
        recipe_task=name,
        notifiers=notifiers,
        doc_md=approve.__doc__,
        map_index_template="{{ task.recipe_task }}",  # known before it waits, so the name is shown meanwhile
        retries=TRIES,
        retry_delay=timedelta(seconds=SECONDS_BETWEEN),
    )


def _form() -> ParamsDict:
    """Return what is asked for beside the choice; made late, for of a task's own params Airflow wants values."""
    description = "Why it is published, or why it is not: kept with your name and the time, and told in the report."
    return ParamsDict({REASON: Param(None, type="string", pattern=r"\S", title="Reason", description=description)})


def _question(flow: Flow, task: str) -> tuple[str, str]:
    dag_run = get_current_context()["dag_run"]
    flow.report()  # the person reads it before the run has ended
    gate = flow.judged(task)
    champion = flow.registry.champion(flow.model_name(task))
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    page = f"{base}/dags/{quote(dag_run.dag_id)}/runs/{quote(dag_run.run_id)}/plugin/run_report"
    links = {"Report of this run": page, "All models": f"{base}/plugin/models"}
    return question(flow.model_name(task), gate, champion.version if champion else None, links)


def _reason(given: dict[str, Any] | None) -> str:
    why = (given or {}).get(REASON)
    if not isinstance(why, str) or not why.strip():
        raise ValueError(f"received no {REASON} with the answer; expected a few words on why. It is asked for again")
    return why
