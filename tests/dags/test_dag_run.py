"""A tiny recipe's DAG, run by Airflow itself in a fresh process: to a published model, and to a clear refusal."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.registry import Registry
from pipeline.store import Store

DAGS = Path(__file__).resolve().parents[2] / "dags"
TIMEOUT = 900

RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
dag = DagBag(sys.argv[1]).dags["tiny"]
run = dag.test(run_conf=json.loads(sys.argv[2]), mark_success_pattern=sys.argv[3] or None)
states = {ti.task_id: ti.state for ti in run.get_task_instances()}
shown = sorted(str(ti.rendered_map_index) for ti in run.get_task_instances() if ti.map_index >= 0)
print(json.dumps({"run": run.run_id, "state": run.state, "tasks": states, "shown": shown}))
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def run_dag(airflow_environment, tiny_recipe, tmp_path):
    """Return a function that runs the DAG with a configuration, and returns how it ended and what it logged.

    Tasks whose names fit the pattern `left_out` do nothing and succeed.
    """
    environment = airflow_environment | {
        "TRADEWIND_RECIPES": str(tiny_recipe.parent),
        "TRADEWIND_WORKSPACE": str(tmp_path / "workspace"),
    }

    def run(conf, left_out=""):
        command = [sys.executable, "-c", RUN, str(DAGS), json.dumps(conf), left_out]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
        return json.loads(ended.stdout.splitlines()[-1]), ended.stdout + ended.stderr

    return run


def test_what_passes_the_gate_is_published_and_what_it_refuses_is_not(run_dag, tmp_path):
    ended, _ = run_dag({"pretrain.steps": 6, "overrides": ["seed=3"]})
    assert ended["state"] == "success"
    assert set(ended["tasks"].values()) == {"success"}
    record = Store(tmp_path / "workspace").runs.load(f"tiny-{ended['run']}")
    assert record["outcome"] == "succeeded"
    assert (record["recipe"]["pretrain"]["steps"], record["recipe"]["seed"]) == (6, 3)
    assert set(record["nodes"]) == {
        "validate",
        "drift",
        "preprocess",
        "pretrain",
        *(f"{step}[kind]" for step in ("finetune", "baseline", "evaluate", "gate", "publish")),
    }
    registry = Registry.for_workspace(Settings(workspace=tmp_path / "workspace"))
    champion = registry.champion("tiny-kind")
    assert champion is not None
    assert champion.version == "1"
    assert (tmp_path / "workspace" / "reports" / f"tiny-{ended['run']}" / "index.html").is_file()

    strict = "tasks.kind.gate.thresholds={accuracy: 1.0}"
    ended, log = run_dag({"pretrain.steps": 6, "overrides": ["seed=3", strict]})
    assert ended["state"] == "success", "a refusal is a result, not a failure"
    assert {name for name, state in ended["tasks"].items() if state == "skipped"} == {"model.publish"}
    assert "not published, because the gate refused it: " in log
    nodes = Store(tmp_path / "workspace").runs.load(f"tiny-{ended['run']}")["nodes"]
    assert {node for node, entry in nodes.items() if not entry["hit"]} == {"gate[kind]"}, "the rest is kept"
    assert registry.champion("tiny-kind") == champion

    ended, log = run_dag({"pretrain.steps": 6, "overrides": ["seed=4", strict], "force": "the harbour needs it"})
    assert ended["state"] == "success"
    assert ended["tasks"]["model.publish"] == "success"
    assert "published whatever the verdict: the harbour needs it" in log
    forced = registry.champion("tiny-kind")
    assert forced.version == "2"
    assert forced.tags["forced"].startswith("the harbour needs it")


def test_the_trials_of_a_search_are_mapped_and_the_best_is_judged(run_dag, tiny_recipe, tmp_path):
    space = "{learning_rate: {low: 1.0e-4, high: 3.0e-2, log: true}, epochs: [1, 2]}"
    section = f"finetune: {{global_batch_size: 4, search: {{trials: 3, parallel: 2, space: {space}}}}}"
    text = tiny_recipe.read_text()
    tiny_recipe.write_text(text.replace("finetune: {epochs: 2, global_batch_size: 4}", section))
    ended, _ = run_dag({}, left_out=r"model\.(baseline|gate|publish)")
    assert ended["state"] == "success"
    assert set(ended["tasks"].values()) == {"success"}
    store = Store(tmp_path / "workspace")
    nodes = store.runs.load(f"tiny-{ended['run']}")["nodes"]
    assert {"trial[kind 1]", "trial[kind 2]", "trial[kind 3]"} <= set(nodes)
    result = store.manifest(nodes["finetune[kind]"]["reference"]).result
    assert [entry["artifact"] for entry in result["trials"]] == [
        nodes[f"trial[kind {number}]"]["reference"] for number in (1, 2, 3)
    ]
    assert store.manifest(nodes["evaluate[kind]"]["reference"]).result["metrics"]["accuracy"] > 0.5
    labels = [label for label in ended["shown"] if "trial" in label]
    assert [label.partition(": learning_rate=0.")[0] for label in labels] == [
        f"kind, trial {number}" for number in (1, 2, 3)
    ]
    report = (tmp_path / "workspace" / "reports" / f"tiny-{ended['run']}" / "index.html").read_text()
    assert f"Trial {result['best_trial']} was kept" in report
    assert "could not be rendered" not in report


def test_a_wrong_configuration_fails_the_first_task_at_once(run_dag, tmp_path):
    ended, log = run_dag({"pretrain.step": 6})
    assert ended["state"] == "failed"
    assert ended["tasks"]["start"] == "failed"
    assert ended["tasks"]["validate"] == "upstream_failed"
    assert "received the key 'pretrain.step', did you mean" in log
    assert not (tmp_path / "workspace" / "runs").exists()


def test_bad_data_stops_the_run_without_retries_and_still_gives_a_report(run_dag, tiny_recipe, tmp_path):
    (tmp_path / "notes.csv").write_text("place,kind,note\nharbour,trade,silk\n")
    ended, log = run_dag({})
    assert ended["state"] == "failed"
    assert ended["tasks"]["validate"] == "failed"
    assert ended["tasks"]["finish"] == "failed"
    assert "failed: validate; not run because of that: " in log
    record = Store(tmp_path / "workspace").runs.load(f"tiny-{ended['run']}")
    assert record["outcome"] == "failed"
    assert record["nodes"]["validate"]["status"] == "failed"
    left = tmp_path / "workspace" / "partial" / record["nodes"]["validate"]["partial"]
    assert (left / "data_docs" / "index.html").is_file()
    assert (tmp_path / "workspace" / "reports" / f"tiny-{ended['run']}" / "index.html").is_file()


def test_a_connection_of_airflow_is_a_source_and_a_missing_one_is_said(
    run_dag, airflow_environment, tiny_recipe, tmp_path
):
    with sqlite3.connect(tmp_path / "notes.db") as database:
        database.execute("CREATE TABLE notes (note TEXT, kind TEXT)")
        database.executemany("INSERT INTO notes VALUES (?, ?)", [(f"note {day}", "trade") for day in range(7)])
    file = f"{{kind: files, path: {tmp_path / 'notes.csv'}, text: note, group: place}}"
    table = "{kind: sql, connection: notes_db, query: SELECT * FROM notes, text: note}"
    text = tiny_recipe.read_text()
    assert file in text
    tiny_recipe.write_text(text.replace(file, table))

    _, log = run_dag({})
    assert "Airflow has no such connection; add it under Admin, Connections" in log

    command = [sys.executable, "-m", "airflow", "connections", "add", "notes_db"]
    uri = ["--conn-uri", f"sqlite:///{tmp_path / 'notes.db'}"]
    subprocess.run([*command, *uri], env=airflow_environment, check=True, timeout=TIMEOUT)
    ended, log = run_dag({})
    assert ended["tasks"]["validate"] == "failed"
    assert "enough rows: observed 7, expected at least 20 sound rows" in log
