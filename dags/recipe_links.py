"""The buttons that a step has in Airflow: to the pages of the data it read, and to the curves of its training.

The task that has ended works them out, so that a page of Airflow never waits for them. Without an address there is no
button: not every step trains, and a source that cannot be read has no pages.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.configuration import conf

from airflow_plugin.plugin import PREFIX
from airflow_plugin.runs import data_docs_of, mlflow_run_of
from pipeline.steps import node_name


class DataDocs(BaseOperatorLink):
    """To what was checked of the run's data, and how it came out."""

    name = "Data Docs"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 (given by Airflow)
        """Return the address; none without pages."""
        return f"{run_address(ti_key)}/data" if data_docs_of(ti_key.dag_id, ti_key.run_id) else ""


class MlflowRun(BaseOperatorLink):
    """To the curves of a step that trains."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address; none without curves."""
        node = node_name(operator.step, operator.recipe_task, operator.trial)
        known = mlflow_run_of(ti_key.dag_id, ti_key.run_id, node)
        return f"{run_address(ti_key)}/mlflow/{quote(node)}" if known else ""


def run_address(ti_key: Any) -> str:
    """Return where the pages of a DAG run are."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return f"{base}{PREFIX}/runs/{quote(ti_key.dag_id)}/{quote(ti_key.run_id)}"
