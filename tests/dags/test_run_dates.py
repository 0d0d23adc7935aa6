"""Runs of one logical date give the same artifacts, whether Airflow or the command line makes them."""

import json
import subprocess
import sys

import pytest

from pipeline.config import Settings
from pipeline.dates import read_dates
from pipeline.flow import Flow
from pipeline.recipes import load_recipe
from pipeline.store import Store

RUN = """
import json, sys
from datetime import datetime, UTC
from airflow.dag_processing.dagbag import DagBag
dag = DagBag(sys.argv[1]).dags["tiny"]
left_out = "drift|preprocess|pretrain|model|finish"
for day in (1, 2, 1):
    run = dag.test(logical_date=datetime(2026, 11, day, 3, tzinfo=UTC), mark_success_pattern=left_out)
    print("RUN", json.dumps([run.run_id, run.state]), flush=True)
"""

pytestmark = pytest.mark.slow


def test_a_backfill_reads_its_day_and_a_run_of_the_same_day_is_the_same(airflow_environment, tiny_recipe, tmp_path):
    text = tiny_recipe.read_text().replace(str(tmp_path / "notes.csv"), f"'{tmp_path}/{{{{ ds }}}}.csv'")
    tiny_recipe.write_text(text + "  schedule: 0 3 * * *\n  catchup: true\n")
    rows = (tmp_path / "notes.csv").read_text()
    (tmp_path / "2026-11-01.csv").write_text(rows)
    (tmp_path / "2026-11-02.csv").write_text(rows + "harbour 99,trade,silk and salt at the harbour on day 240\n")
    places = {"TRADEWIND_RECIPES": str(tiny_recipe.parent), "TRADEWIND_WORKSPACE": str(tmp_path / "workspace")}
    command = [sys.executable, "-c", RUN, airflow_environment["AIRFLOW__CORE__DAGS_FOLDER"]]
    ended = subprocess.run(
        command, cwd=tmp_path, env=airflow_environment | places, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    runs = [json.loads(line[4:]) for line in ended.stdout.splitlines() if line.startswith("RUN ")]
    assert [state for _, state in runs] == ["success"] * 3, ended.stdout[-3000:]
    settings = Settings(workspace=tmp_path / "workspace")
    store = Store(settings.workspace)
    from recipe_run import LogDisplay

    records = [record for record in store.runs.list() if record["trigger"].startswith("airflow")]
    made = [(record["dates"]["logical_date"], record["nodes"]["validate"]["reference"]) for record in records]
    first, second = "2026-11-01T03:00:00+00:00", "2026-11-02T03:00:00+00:00"
    assert sorted(date for date, _ in made) == [first, first, second]
    assert len(set(made)) == 2, "both runs of the first day made the same"
    assert dict(made)[first] != dict(made)[second], "each day is read for itself"
    recipe = load_recipe(tiny_recipe)
    flow = Flow.create(recipe, tiny_recipe, settings, dates=read_dates("2026-11-01", recipe.airflow.schedule))
    kept = flow.step("validate", None, LogDisplay())
    assert (kept.reference, kept.hit) == (dict(made)[first], True)
