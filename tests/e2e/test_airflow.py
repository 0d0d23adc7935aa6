"""`tradewind airflow` as a person meets it: started, asked over HTTP and in a browser, and ended without a trace."""

import subprocess
from urllib.error import HTTPError

import psutil
import pytest
from airflow_page import AirflowPage, browse
from local_airflow import LocalAirflow, wait_for
from playwright.sync_api import expect
from published_tickets import MODEL, publish_two

from pipeline.cli.airflow_processes import session_members
from pipeline.config import Settings
from pipeline.registry import Registry
from pipeline.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def airflow(tiny_recipe, tmp_path):
    text = tiny_recipe.read_text()
    tiny_recipe.write_text(text.replace("\nairflow:", "\npublish: {approval: {}}\nairflow:"))
    publish_two(tmp_path / "workspace", {"recipe": "tickets"})
    started = LocalAirflow(tiny_recipe.parent, tmp_path / "workspace")
    yield started
    started.stop()


@pytest.fixture
def person(airflow):
    """A person at the browser; None where there is none."""
    with browse(airflow.url) as page:
        yield page


def test_a_recipe_is_approved_and_published_through_the_real_scheduler(airflow, person, tmp_path):
    check_access_and_refusals(airflow)
    run = trigger(airflow, person)
    awaiting(airflow, run)
    airflow.answer(run, "Reject", {})  # without a reason, which REST lets pass
    awaiting(airflow, run, tries=2)
    airflow.answer(run, "Reject", {"reason": "too few rows"})
    assert airflow.wait_for_run(run) == "success"
    assert airflow.tasks(run)["model.publish"]["state"] == "skipped"
    registry = Registry.for_workspace(Settings(workspace=tmp_path / "workspace"))
    assert registry.champion("tiny-kind") is None
    runs = Store(tmp_path / "workspace").runs
    decision = runs.load(f"tiny-{run}")["nodes"]["approval[kind]"]
    assert (decision["status"], decision["who"], decision["why"]) == ("rejected", "admin", "too few rows")

    airflow.clear(run, "model.approve")
    awaiting(airflow, run, tries=3)
    approve(airflow, person, run, "the new rows are in")
    assert airflow.wait_for_run(run) == "success"
    assert airflow.tasks(run)["model.publish"]["rendered_map_index"] == "kind"
    assert airflow.ask("/api/v2/pools/training")["slots"] >= 1
    assert airflow.tasks(run)["pretrain"]["pool"] == "training"
    refreshed = {event["uri"]: event["extra"] for event in airflow.ask("/api/v2/assets/events")["asset_events"]}
    assert set(refreshed) == {"tradewind://backbones/tiny", "tradewind://models/tiny-kind"}
    assert refreshed["tradewind://models/tiny-kind"]["version"] == "1"
    record = runs.load(f"tiny-{run}")
    assert (record["outcome"], record["recipe"]["pretrain"]["steps"]) == ("succeeded", 6)
    (move,) = registry.moves("tiny-kind")
    assert (move.who, move.how) == ("admin", "publish")
    assert move.why.endswith("the new rows are in")
    if person:
        look_at_the_pages(person, run)
        assert registry.moves(MODEL)[-1].why == "complaints"
        assert registry.moves(MODEL)[-1].who == "admin"
        outside = {url for url in person.asked if not url.startswith((airflow.url, "data:", "blob:"))}
        assert outside == set()

    airflow.stop()
    assert airflow.process.returncode == 0
    assert session_members(airflow.sessions) == []
    assert not (airflow.home / "processes.json").exists()
    if person is None:
        pytest.skip("no Chromium on PATH: Airflow was asked over HTTP only, and its pages were not looked at")


def check_access_and_refusals(airflow: LocalAirflow) -> None:
    with pytest.raises(HTTPError, match="401"):
        airflow.ask("/api/v2/dags")
    airflow.log_in()
    assert [dag["dag_id"] for dag in airflow.ask("/api/v2/dags")["dags"]] == ["tiny"], "no example DAGs"
    assert airflow.ask("/api/v2/importErrors")["total_entries"] == 0
    assert (airflow.home / "passwords.json").stat().st_mode & 0o777 == 0o600
    listening = {
        connection.laddr.ip
        for process in session_members(airflow.sessions)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}

    again = airflow.command("--port", "1", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert f"Airflow runs in this workspace already: {airflow.url}" in again.communicate(timeout=60)[0]
    assert again.returncode == 1

    with pytest.raises(HTTPError, match="400") as refused:
        airflow.trigger({"runtime.backend": "mxnet"})
    assert "'mxnet' is not one of" in refused.value.read().decode()

    unknown = airflow.trigger({"pretrain.step": 6})
    assert airflow.wait_for_run(unknown) == "failed"
    assert airflow.tasks(unknown)["start"]["state"] == "failed"
    assert airflow.tasks(unknown)["start"]["try_number"] == 1
    assert "received the key 'pretrain.step', did you mean" in airflow.log(unknown, "start")
    plugins = airflow.ask("/api/v2/plugins")["plugins"]
    assert "tradewind" in {plugin["name"] for plugin in plugins}, "install the project anew: pip install --editable ."


def trigger(airflow: LocalAirflow, person: AirflowPage | None) -> str:
    """Start a run of six steps by the form, or without a browser over HTTP."""
    if person is None:
        return airflow.trigger({"pretrain.steps": 6})
    person.log_in(airflow.password())
    person.open_form("tiny")
    expect(person.page.get_by_text("of weights, order, masks and resampling")).to_be_visible()
    expect(person.button("Fine-tuning")).to_be_visible()
    person.field("seed").fill("-5")
    person.field("pretrain.steps").fill("6")
    expect(person.field("seed")).not_to_have_value("-5")
    person.field("seed").fill("17")
    person.field("pretrain.steps").focus()
    return person.trigger()


def awaiting(airflow: LocalAirflow, run: str, tries: int = 1) -> None:
    def asked() -> bool:
        task = airflow.tasks(run)["model.approve"]
        assert task["state"] not in ("failed", "skipped", "upstream_failed"), airflow.log(run, "model.approve")
        # An answer that comes before the scheduler knows of the asking process's end is taken for lost by Airflow.
        waits = task["state"] == "awaiting_input" and task["try_number"] >= tries
        return waits and airflow.has_heard_of_the_end(run, "model.approve", task["try_number"])

    wait_for(asked, 600, told=lambda: airflow.tasks(run)["model.approve"])


def approve(airflow: LocalAirflow, person: AirflowPage | None, run: str, why: str) -> None:
    if person is None:
        airflow.answer(run, "Approve", {"reason": why})
        return
    person.open_question("tiny", run, "model.approve")
    expect(person.page.get_by_text("Publish tiny-kind? The candidate passed")).to_be_visible()
    expect(person.page.get_by_role("cell", name="Macro-F1")).to_be_visible()
    expect(person.page.get_by_role("link", name="Report of this run")).to_be_visible()
    expect(person.button("Approve")).to_be_disabled()
    person.answer("Approve", why)


def look_at_the_pages(person: AirflowPage, run: str) -> None:
    report = person.open_report("tiny", run)
    expect(report.get_by_role("heading", name="tiny succeeded")).to_be_visible()
    expect(report.get_by_text("the new rows are in").first).to_be_attached()
    report.get_by_role("link", name="Drift page").click()
    expect(report.get_by_role("heading").first).to_be_visible()

    models = person.open_models("dark")
    expect(models.get_by_role("heading", name="tiny-kind")).to_be_visible()
    dark = models.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    models = person.open_models("light")
    section = models.locator(f"section#{MODEL}")
    expect(section.locator("svg").first).to_be_visible()
    assert models.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") != dark
    section.get_by_role("button", name="Roll back to version 1").click()
    models.get_by_role("button", name="Roll back", exact=True).click()
    expect(models.get_by_role("dialog")).to_be_visible()  # it wants a reason
    models.get_by_label("Reason").fill("complaints")
    models.get_by_role("button", name="Roll back", exact=True).click()
    expect(section.get_by_text("champion: version 1")).to_be_visible()
