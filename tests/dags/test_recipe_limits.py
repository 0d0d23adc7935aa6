"""What the steps of a DAG may take, and whom a run that goes on for too long is told to."""

from datetime import timedelta

import pytest

from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe


def limits(task):
    given = getattr(task, "partial_kwargs", None) or vars(task)
    return given.get("pool", "default_pool"), given.get("pool_slots", 1), given["execution_timeout"]


def test_each_step_has_its_time_and_only_those_that_compute_take_slots(tiny_recipe, load_dags, monkeypatch):
    with tiny_recipe.open("a") as file:
        file.write("  timeout_hours: {pretrain: 0.5}\n")
    dag = load_dags(tiny_recipe.parent)["tiny"]
    assert limits(dag.get_task("pretrain")) == ("default_pool", 1, timedelta(minutes=30))

    monkeypatch.setenv("TRADEWIND_POOL", "training")
    monkeypatch.setenv("TRADEWIND_POOL_SLOTS", "8")
    dag = load_dags(tiny_recipe.parent)["tiny"]
    assert limits(dag.get_task("validate")) == ("default_pool", 1, timedelta(hours=12))
    assert limits(dag.get_task("model.finetune")) == ("training", 8, timedelta(days=2))
    assert dag.get_task("finish").execution_timeout is None

    with tiny_recipe.open("a") as file:
        file.write("  pool: small\n  pool_slots: 1\n")
    assert limits(load_dags(tiny_recipe.parent)["tiny"].get_task("model.gate"))[:2] == ("small", 1)


def test_a_mapped_trial_is_limited_too(tiny_recipe, load_dags, monkeypatch):
    monkeypatch.setenv("TRADEWIND_POOL", "training")
    space = "{learning_rate: {low: 1.0e-4, high: 3.0e-2, log: true}}"
    section = f"finetune: {{global_batch_size: 4, search: {{trials: 2, parallel: 2, space: {space}}}}}"
    text = tiny_recipe.read_text()
    tiny_recipe.write_text(text.replace("finetune: {epochs: 2, global_batch_size: 4}", section))
    trial = load_dags(tiny_recipe.parent)["tiny"].get_task("round_1.trial")
    assert (trial.pool, trial.execution_timeout) == ("training", timedelta(days=2))


def test_retries_back_off(tiny_recipe, load_dags):
    task = load_dags(tiny_recipe.parent)["tiny"].get_task("pretrain")
    assert (task.retry_exponential_backoff, task.max_retry_delay) == (2.0, timedelta(hours=1))


def test_everybody_who_is_told_hears_of_a_late_run(tiny_recipe, load_dags):
    with tiny_recipe.open("a") as file:
        file.write("  deadline_minutes: 90\n  notify: {to: [team, boss]}\n")
    alerts = load_dags(tiny_recipe.parent)["tiny"].deadline
    assert [alert.interval for alert in alerts] == [timedelta(minutes=90)] * 2
    assert [alert.callback.kwargs["connection"] for alert in alerts] == ["team", "boss"]
    assert alerts[0].callback.path == "recipe_notify.Lateness"


def test_a_deadline_that_nobody_hears_of_is_refused(tiny_recipe):
    with pytest.raises(RecipeError, match=r"airflow: deadline_minutes has nobody to tell; name a connection"):
        load_recipe(tiny_recipe, ["airflow.deadline_minutes=5"])
