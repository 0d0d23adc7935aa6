"""What a person's yes or no does to a candidate; the steps before it are stand-ins, the store and registry are real."""

from functools import partial

import pytest
from judged_runs import judged_run

from pipeline.errors import PublishError, StoreError

ASKING = "publish.approval={}"


@pytest.fixture
def judged(tiny_recipe, tmp_path):
    """Return a function that gives a run which has come as far as the gate."""
    return partial(judged_run, tiny_recipe, tmp_path / "workspace")


def test_without_a_line_in_the_recipe_nobody_is_asked(judged):
    assert judged("pass").stays_back("kind") is None
    assert judged("fail").stays_back("kind") == "the gate refused it"
    assert judged("needs_review").stays_back("kind") == "the gate asks for a person's review"
    assert not judged("pass").ask("kind")


def test_what_is_approved_is_published_in_the_name_of_who_approved_it(judged):
    flow = judged("pass", ASKING)
    assert flow.waits("kind")
    with pytest.raises(PublishError, match=r"kind is not published: it waits for a person's approval.*--approve"):
        flow.register("kind")
    assert flow.registry.champion("tiny-kind") is None

    assert flow.ask("kind")
    decision = flow.decide("kind", approved=True, who="ada", why=" the test rows are fresh ")
    assert (flow.stays_back("kind"), flow.waits("kind")) == (None, False)
    assert flow.approved("kind") is flow, "what passed needs no force"
    version = flow.register("kind")
    assert version.tags["approved"] == decision.text
    assert decision.text.startswith("approved by ada, ")
    (move,) = flow.registry.moves("tiny-kind")
    assert (move.who, move.how) == ("ada", "publish")
    assert move.why.endswith("the test rows are fresh")
    entry = flow.store.runs.load(flow.run_id)["nodes"]["approval[kind]"]
    assert (entry["status"], entry["who"], entry["why"]) == ("approved", "ada", "the test rows are fresh")

    again = judged("pass", ASKING)
    assert not again.ask("kind"), "the champion is not asked about"
    assert again.stays_back("kind") is None
    assert again.register("kind").version == version.version


def test_what_the_gate_hands_to_a_person_is_published_by_force_once_approved(judged):
    flow = judged("needs_review", ASKING)
    assert flow.ask("kind")
    assert flow.approved("kind").force is None
    flow.decide("kind", approved=True, who="ada", why="the slice is tiny")
    assert flow.stays_back("kind") is None
    assert flow.approved("kind").force.endswith("the slice is tiny")
    assert flow.force is None


def test_a_persons_no_holds_for_this_candidate_until_a_yes(judged):
    first = judged("pass", ASKING)
    first.decide("kind", approved=False, who="ada", why="too few rows")
    assert "rejected by ada" in first.stays_back("kind")
    with pytest.raises(PublishError, match="too few rows"):
        first.register("kind")
    assert first.ask("kind"), "the same run is asked anew when its task is cleared"
    assert first.stays_back("kind") == "it waits for a person's approval"
    first.decide("kind", approved=False, who="ada", why="too few rows")

    second = judged("pass", ASKING)
    assert not second.ask("kind")
    assert "too few rows" in second.stays_back("kind")
    assert judged("pass", ASKING, candidate="other").ask("kind")

    second.decide("kind", approved=True, who="grace", why="more than last year")
    assert judged("pass", ASKING).ask("kind")


def test_when_nobody_answers_the_next_run_asks_again(judged):
    first = judged("pass", ASKING)
    first.decide("kind", approved=False, who=None, why="nobody answered within 24 hours")
    assert "rejected by default" in first.stays_back("kind")
    assert judged("pass", ASKING).ask("kind")


def test_a_refusal_is_forced_and_never_approved(judged):
    flow = judged("fail", ASKING)
    assert not flow.ask("kind")
    with pytest.raises(StoreError, match="forced, and not approved"):
        flow.decide("kind", approved=True, who="ada", why="please")
    flow.force = "the harbour needs it"
    assert (flow.stays_back("kind"), flow.waits("kind")) == (None, False)


def test_a_decision_needs_a_reason(judged):
    with pytest.raises(StoreError, match="the reason is empty"):
        judged("pass", ASKING).decide("kind", approved=False, who="ada", why=" ")


def test_who_approves_is_no_part_of_what_is_made(judged):
    from pipeline.factors import recipe_yaml
    from pipeline.steps import GRAPH
    from pipeline.store import View

    plain, asking = judged("pass").recipe, judged("pass", ASKING).recipe
    assert recipe_yaml(plain, "kind") == recipe_yaml(asking, "kind")
    publish = GRAPH["publish"]
    values = [View(recipe, publish.reads_of("kind"), publish.uses).values() for recipe in (plain, asking)]
    assert values[0] == values[1]


def test_show_tells_what_became_of_the_question(judged, tmp_path, monkeypatch, capsys):
    from pipeline.cli.application import execute

    flow = judged("pass", ASKING)
    flow.decide("kind", approved=False, who="ada", why="too few rows")
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("COLUMNS", "200")
    assert execute(["show", flow.run_id]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("approval[kind]")]
    assert line.endswith("rejected by ada: too few rows")
