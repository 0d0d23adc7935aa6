"""One DAG for each recipe: its graph, what it costs to parse, and what a broken recipe does to the others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.recipes import list_recipes, load_recipe

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    *("grain", "great_expectations", "jax", "keras", "mlflow", "numpy", "optuna", "pandas", "sklearn", "tensorflow"),
    "torch",
)


def test_every_shipped_recipe_has_a_sound_dag(load_dags):
    from airflow.serialization.serialized_objects import DagSerialization

    recipes = {load_recipe(file).name for file in list_recipes(ROOT / "configs")}
    dags = load_dags(ROOT / "configs")
    assert set(dags) == recipes
    for dag in dags.values():
        assert "start" in dag.task_ids
        DagSerialization.to_dict(dag)  # what the scheduler gets


def test_parsing_imports_nothing_heavy(tiny_recipe):
    with tiny_recipe.open("a") as file:
        file.write("  schedule: '@daily'\n  after: [labels]\n  deadline_minutes: 5\n  notify: {to: [alerts]}\n")
        file.write("monitor: {retrain: true}\n")
    code = "import json, runpy, sys; runpy.run_path('recipes.py'); print(json.dumps(list(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "dags",
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'dags'}:{ROOT}", "TRADEWIND_RECIPES": str(tiny_recipe.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(json.loads(answer.stdout.splitlines()[-1]))
    assert {"pipeline.flow", "recipe_retrain"} <= imported
    assert imported.isdisjoint(HEAVY)


def test_the_graph_lets_the_tasks_of_a_recipe_go_their_own_ways(tiny_recipe, load_dags):
    dag = load_dags(tiny_recipe.parent)["tiny"]
    above = {task.task_id: task.upstream_task_ids - {"start"} for task in dag.tasks}
    assert above == {
        "start": set(),
        "validate": set(),
        "drift": {"validate"},
        "preprocess": {"drift"},
        "pretrain": {"preprocess"},
        "model.finetune": {"pretrain"},
        "model.baseline": {"preprocess"},
        "model.evaluate": {"model.finetune"},
        "model.gate": {"model.evaluate", "model.baseline"},
        "model.publish": {"model.gate"},
        "finish": {"model.publish"},
    }


def test_the_same_model_without_pretraining_is_a_step_where_a_task_asks_for_it(tiny_recipe, load_dags):
    text = tiny_recipe.read_text()
    tiny_recipe.write_text(text.replace('baseline: "off"', 'baseline: "off", scratch: warning'))
    dag = load_dags(tiny_recipe.parent)["tiny"]
    assert dag.get_task("model.scratch").upstream_task_ids - {"start"} == {"model.finetune"}
    assert "model.scratch" in dag.get_task("model.gate").upstream_task_ids


def test_a_form_that_asks_for_a_step_that_the_dag_was_laid_without_is_refused(tiny_recipe):
    from recipe_run import check_scratch

    laid, asking = load_recipe(tiny_recipe), load_recipe(tiny_recipe, ["tasks.kind.gate.scratch=warning"])
    check_scratch("tiny.yaml", laid, laid)
    check_scratch("tiny.yaml", asking, asking)
    with pytest.raises(RecipeError, match=r"tasks.kind.gate.scratch=warning, and this DAG has no step .*tiny\.yaml"):
        check_scratch("tiny.yaml", laid, asking)


def test_the_recipe_says_how_airflow_runs_it(tiny_recipe, load_dags):
    with tiny_recipe.open("a") as file:
        file.write("  schedule: '0 3 * * *'\n  owner: registry-team\n  tags: [notes]\n")
    dag = load_dags(tiny_recipe.parent)["tiny"]
    assert (dag.schedule.expression, dag.max_active_runs, dag.tags) == ("0 3 * * *", 1, {"notes"})
    pretrain, start = dag.get_task("pretrain"), dag.get_task("start")
    assert (pretrain.retries, pretrain.retry_delay.seconds, pretrain.owner) == (1, 1, "registry-team")
    assert start.retries == 0
    assert "vocabulary_size: 300" in dag.doc_md


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: [", "not valid YAML"),
        ("name: other\ndata: {sources: {a: {kind: icd10cm}}}\n", "tasks"),
        ("", "empty"),
    ],
)
def test_a_broken_recipe_says_why_and_leaves_the_others_alone(tiny_recipe, load_dags, text, complaint):
    (tiny_recipe.parent / "other.yaml").write_text(text)
    dags = load_dags(tiny_recipe.parent)
    assert set(dags) == {"tiny", "other"}
    assert "pretrain" in dags["tiny"].task_ids
    broken = dags["other"]
    assert broken.task_ids == ["explain"]
    assert broken.dag_display_name == "other (broken recipe)"
    assert complaint in broken.doc_md
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=complaint):
        broken.get_task("explain").python_callable()


def test_a_schedule_that_is_none_breaks_only_its_recipe(tiny_recipe, load_dags):
    text = tiny_recipe.read_text().replace("name: tiny", "name: often")
    (tiny_recipe.parent / "often.yaml").write_text(text + "  schedule: every now and then\n")
    dags = load_dags(tiny_recipe.parent)
    assert "pretrain" in dags["tiny"].task_ids
    assert ": airflow.schedule: received 'every now and then', expected a cron" in dags["often"].doc_md


def test_an_asset_that_airflow_refuses_breaks_only_its_recipe(tiny_recipe, load_dags):
    text = tiny_recipe.read_text().replace("name: tiny", "name: follower")
    (tiny_recipe.parent / "follower.yaml").write_text(text + "  after: ['airflow://mine']\n")
    dags = load_dags(tiny_recipe.parent)
    assert "pretrain" in dags["tiny"].task_ids
    assert "airflow" in dags["follower"].doc_md


def test_two_recipes_of_one_name(tiny_recipe, load_dags):
    (tiny_recipe.parent / "zweite.yaml").write_text(tiny_recipe.read_text())
    dags = load_dags(tiny_recipe.parent)
    assert "pretrain" in dags["tiny"].task_ids
    assert "another recipe is called 'tiny' too" in dags["zweite"].doc_md


def test_a_broken_recipe_never_takes_the_name_of_a_sound_one(tiny_recipe, load_dags):
    (tiny_recipe.parent / "zweite.yaml").write_text(tiny_recipe.read_text().replace("name: tiny", "name: a"))
    (tiny_recipe.parent / "a.yaml").write_text("name: [")
    dags = load_dags(tiny_recipe.parent)
    assert set(dags) == {"tiny", "a", "a-broken"}
    assert "pretrain" in dags["a"].task_ids
