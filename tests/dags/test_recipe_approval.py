"""The task that asks a person: where it lies, what it shows, and what it makes of an answer or of none."""

from datetime import UTC, datetime

import pytest
from judged_runs import judged_run

from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe

ASKING = "publish.approval={timeout_hours: 8, default: approve}"


@pytest.fixture
def asking(tiny_recipe, tmp_path, monkeypatch):
    """Return a function that gives the task and the run that it asks about."""
    import recipe_approval

    def make(verdict: str):
        flow = judged_run(tiny_recipe, tmp_path / "workspace", verdict, ASKING)
        monkeypatch.setattr(recipe_approval, "current_flow", lambda: flow)
        return recipe_approval.Approval(task_id="approve", recipe_task="kind"), flow

    return make


def event(choice: str, **others):
    given = {"params_input": {}, "responded_by_user": {"id": "1", "name": "ada"}, "responded_at": datetime.now(UTC)}
    return {"chosen_options": [choice]} | given | others


def test_it_lies_between_gate_and_publish_where_the_recipe_asks_for_it(tiny_recipe, load_dags):
    from airflow.serialization.serialized_objects import DagSerialization

    assert "model.approve" not in load_dags(tiny_recipe.parent)["tiny"].task_ids
    tiny_recipe.write_text(tiny_recipe.read_text() + "publish: {approval: {}}\n")
    dag = load_dags(tiny_recipe.parent)["tiny"]
    assert dag.get_task("model.approve").upstream_task_ids - {"start"} == {"model.gate"}
    assert dag.get_task("model.publish").upstream_task_ids - {"start"} == {"model.gate", "model.approve"}
    DagSerialization.to_dict(dag)


def test_a_form_cannot_ask_for_it_where_there_is_no_such_task(tiny_recipe):
    from recipe_run import check_approval

    laid, wanted = load_recipe(tiny_recipe), load_recipe(tiny_recipe, [ASKING])
    check_approval("tiny.yaml", wanted, laid)
    with pytest.raises(RecipeError, match=r"set publish.approval in tiny\.yaml"):
        check_approval("tiny.yaml", laid, wanted)


def test_an_answer_is_recorded_with_name_and_reason(asking):
    task, flow = asking("pass")
    task.execute_complete({}, event("Reject", params_input={"reason": "too few rows"}))
    decision = flow.decision("kind")
    assert (decision.approved, decision.who, decision.why) == (False, "ada", "too few rows")


@pytest.mark.parametrize("given", [{}, {"reason": " "}, {"reason": None}])
def test_an_answer_without_a_reason_is_none(asking, given):
    task, flow = asking("pass")
    with pytest.raises(Exception, match="reason"):
        task.execute_complete({}, event("Approve", params_input=given))
    assert flow.decision("kind") is None


def test_when_the_time_is_up_the_default_holds(asking):
    task, flow = asking("pass")
    late = {"timedout": True, "responded_by_user": None, "params_input": {"reason": None}}
    task.execute_complete({}, event("Approve", **late))
    decision = flow.decision("kind")
    assert (decision.approved, decision.who, decision.why) == (True, None, "nobody answered within 8 hours")


@pytest.mark.parametrize(("verdict", "default"), [("pass", "Approve"), ("needs_review", "Reject")])
def test_the_question_has_the_recipes_time_and_default(asking, monkeypatch, verdict, default):
    from airflow.providers.standard.operators.hitl import HITLOperator

    import recipe_approval

    monkeypatch.setattr(recipe_approval, "_question", lambda flow, task: ("Publish?", "**metrics**"))
    monkeypatch.setattr(HITLOperator, "execute", lambda self, context: self)  # needs a worker's supervisor
    task, flow = asking(verdict)
    asked = task.execute({})
    assert (asked.defaults, asked.response_timeout.total_seconds() / 3600) == ([default], 8)
    assert (asked.subject, list(asked.params)) == ("Publish?", ["reason"])
    assert flow.waits("kind")


def test_nobody_is_asked_about_what_the_gate_refused(asking):
    from airflow.sdk.exceptions import AirflowSkipException

    task, _ = asking("fail")
    with pytest.raises(AirflowSkipException, match="nobody is asked: the gate refused it"):
        task.execute({})
