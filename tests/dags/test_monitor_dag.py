"""The DAG that watches a recipe's models: an alert that says what moved, and one retraining for each champion."""

import json
import shutil
import subprocess
import sys

import pytest
from served_texts import make_bundle, texts, write

from pipeline.config import Settings
from pipeline.registry import Registry

RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
dags = DagBag(sys.argv[1]).dags
for _ in sys.argv[2:]:
    run = dags["tiny.monitor"].test()
    states = {ti.task_id: ti.state for ti in run.get_task_instances()}
    with create_session() as session:
        started = session.query(DagRun).filter(DagRun.dag_id == "tiny", DagRun.run_id.like("drift%"))
        runs = {run.run_id: run.conf for run in started}
    print("RUN", json.dumps([run.state, states, runs]), flush=True)
"""


@pytest.fixture
def watched(tiny_recipe, tmp_path):
    """Return a workspace with a published model, for a recipe that asks for watching."""
    with tiny_recipe.open("a") as file:
        file.write(f"monitor: {{retrain: true, log: {tmp_path / 'served'}}}\n")
    export = make_bundle(tmp_path / "export")
    for name in ("model.keras", "tokenizer.json", "MODEL_CARD.md"):
        (export / name).write_text(f"the {name}")
    (export / "requirements.txt").write_text("keras==3.15.0\n")
    settings = Settings(workspace=tmp_path / "workspace")
    Registry.for_workspace(settings).publish(
        "tiny-kind",
        export,
        fingerprint="f1",
        publish_reference="publish/f1",
        expected_champion=None,
        tags={"gate": "gate/1"},
        metrics={},
        params={},
        experiment="tiny",
    )
    return settings.workspace


def test_it_is_there_only_where_the_recipe_asks(tiny_recipe, load_dags):
    assert set(load_dags(tiny_recipe.parent)) == {"tiny"}
    with tiny_recipe.open("a") as file:
        file.write("  notify: {to: [team]}\nmonitor: {schedule: '@weekly'}\n")
    dag = load_dags(tiny_recipe.parent)["tiny.monitor"]
    assert dag.task_ids == ["model.compare", "model.alert"]
    assert dag.schedule.expression == "0 0 * * 0"
    assert [notifier.connection for notifier in dag.get_task("model.alert").on_failure_callback] == ["team"]
    assert dag.get_task("model.alert").retries == 0


@pytest.mark.slow
def test_drift_fails_the_alert_and_starts_one_run_for_the_champion(airflow_environment, tiny_recipe, watched, tmp_path):
    log = tmp_path / "served" / "tiny-kind"
    environment = airflow_environment | {
        "TRADEWIND_RECIPES": str(tiny_recipe.parent),
        "TRADEWIND_WORKSPACE": str(watched),
    }

    def run(times):
        command = [sys.executable, "-c", RUN, environment["AIRFLOW__CORE__DAGS_FOLDER"], *["again"] * times]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
        lines = [json.loads(line[4:]) for line in ended.stdout.splitlines() if line.startswith("RUN ")]
        return lines, ended.stdout + ended.stderr

    write(log, texts(400, 2), model="tiny-kind")
    ((state, states, runs),), _ = run(1)
    assert (state, states["model.alert"], states["model.retrain"], runs) == ("success", "success", "skipped", {})

    shutil.rmtree(log)
    write(log, [(text, "sun") for text, _ in texts(400, 3)], model="tiny-kind")
    found, output = run(2)
    assert [(state, states["model.alert"]) for state, states, _ in found] == [("failed", "failed")] * 2
    assert "tiny-kind version 1 is asked other texts than it knows:\\nanswer shift" in output
    assert [states["model.retrain"] for _, states, _ in found] == ["success", "skipped"]
    assert [runs for _, _, runs in found] == [{"drift-kind-1": {"tasks": ["kind"]}}] * 2, "once for the same drift"
