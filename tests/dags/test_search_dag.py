"""A recipe with a search: its rounds lie before the fine-tuning, and its trials are mapped."""

import pytest

SPACE = "{learning_rate: {low: 1.0e-4, high: 3.0e-2, log: true}, epochs: [1, 2]}"


@pytest.fixture
def searching(tiny_recipe):
    section = f"finetune: {{global_batch_size: 4, search: {{trials: 3, parallel: 2, space: {SPACE}}}}}"
    text = tiny_recipe.read_text()
    tiny_recipe.write_text(text.replace("finetune: {epochs: 2, global_batch_size: 4}", section))
    return tiny_recipe


def test_each_round_waits_for_the_one_before(searching, load_dags):
    from airflow.sdk import TriggerRule
    from airflow.sdk.definitions.mappedoperator import MappedOperator
    from airflow.serialization.serialized_objects import DagSerialization

    dag = load_dags(searching.parent)["tiny"]
    above = {task.task_id: task.upstream_task_ids - {"start"} for task in dag.tasks}
    assert above == {
        "start": set(),
        "validate": set(),
        "drift": {"validate"},
        "preprocess": {"drift"},
        "pretrain": {"preprocess"},
        "round_1.propose": {"pretrain"},
        "round_1.trial": {"round_1.propose"},
        "round_2.propose": {"round_1.trial"},
        "round_2.trial": {"round_2.propose"},
        "model.finetune": {"round_2.trial"},
        "model.baseline": {"preprocess"},
        "model.evaluate": {"model.finetune"},
        "model.gate": {"model.evaluate", "model.baseline"},
        "model.publish": {"model.gate"},
        "finish": {"model.publish"},
    }
    trial = dag.get_task("round_1.trial")
    assert isinstance(trial, MappedOperator)
    assert (trial.retries, trial.max_active_tis_per_dagrun) == (1, 1)
    assert {dag.get_task(name).trigger_rule for name in ("model.finetune", "round_2.propose")} == {
        TriggerRule.NONE_FAILED
    }
    DagSerialization.to_dict(dag)


def test_trials_run_at_the_same_time_on_a_cluster_only(searching, load_dags):
    with searching.open("a") as file:
        file.write("  tags: []\n")
    text = searching.read_text().replace("{backend: jax}", "{backend: jax, launcher: ray, ray: {address: 'head:6379'}}")
    searching.write_text(text)
    dag = load_dags(searching.parent)["tiny"]
    assert dag.get_task("round_1.trial").max_active_tis_per_dagrun == 2


def test_what_trials_decide_is_no_field_of_the_form(searching, load_dags):
    fields = load_dags(searching.parent)["tiny"].params
    assert "pretrain.epochs" in fields
    assert not [name for name in fields if "finetune" in name]
