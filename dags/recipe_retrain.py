"""Starts a run of a recipe for a task whose model has drifted. Apart, for its import takes a tenth of a second."""

from __future__ import annotations

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException


class Retrain(TriggerDagRunOperator):
    """Starts one run for each champion that has drifted; one that was started before is not started again.

    The name of the run says for which task and champion it is, and Airflow has each name once. When the gate refuses
    what that run has trained, the champion stays, and a person decides what to do.
    """

    def execute(self, context: Context) -> None:
        """Start the run; skipped when nothing has moved, or when it was started before."""
        context["task_name"] = self.conf["tasks"][0]
        if self.trigger_run_id is None:
            raise AirflowSkipException("nothing has moved")
        super().execute(context)
