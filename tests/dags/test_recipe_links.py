"""The buttons of a step: each leads somewhere, or is not there."""

from types import SimpleNamespace

import pytest

from pipeline.store import Store

RECORD = "tiny-manual__2026-11-01T00:00:00+00:00"
RUN = SimpleNamespace(dag_id="tiny", run_id="manual__2026-11-01T00:00:00+00:00")
ADDRESS = "/runs/tiny/manual__2026-11-01T00%3A00%3A00%2B00%3A00"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return what records a node of the run, which has left a file."""
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(tmp_path))
    runs = Store(tmp_path).runs
    runs.create(RECORD, {})

    def make(node, file, **entry):
        folder = f"artifacts/{entry['reference']}" if "reference" in entry else f"partial/{entry['partial']}"
        (tmp_path / folder / file).parent.mkdir(parents=True)
        (tmp_path / folder / file).write_text("{}")
        runs.record(RECORD, node, entry)

    return make


def links(step, task=None):
    from recipe_links import DataDocs, MlflowRun

    operator = SimpleNamespace(step=step, recipe_task=task, trial=None)
    return [link.get_link(operator, ti_key=RUN).partition("/tradewind")[2] for link in (DataDocs(), MlflowRun())]


def test_a_step_that_trained_leads_to_its_curves_and_every_step_to_the_data(made):
    assert links("validate") == ["", ""]
    made("validate", "data_docs/index.html", reference="validate/1", status="done")
    made("finetune[kind]", "logs/mlflow_run.json", reference="finetune/1", status="done")
    made("pretrain", "backbone.keras", reference="pretrain/1", status="done")
    assert links("finetune", "kind") == [f"{ADDRESS}/data", f"{ADDRESS}/mlflow/finetune%5Bkind%5D"]
    assert links("pretrain") == [f"{ADDRESS}/data", ""], "a backbone that was taken over has no curves"


def test_bad_data_can_be_looked_at(made):
    made("validate", "data_docs/index.html", partial="validate/1", status="failed", error="bad rows")
    assert links("validate") == [f"{ADDRESS}/data", ""]
