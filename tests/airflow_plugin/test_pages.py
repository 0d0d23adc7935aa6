"""The pages inside Airflow, asked over HTTP with the tokens that Airflow's own auth manager gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from published_tickets import MODEL, RECIPE, publish_two

from pipeline.store import Store

# Airflow reads its settings when it is first imported: once in a process, which is therefore one of its own.
SERVE = """
import json, sys
from airflow.utils.db import initdb
from airflow.api_fastapi.app import create_auth_manager, init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from fastapi.testclient import TestClient
from airflow_plugin.plugin import PREFIX, TradewindPlugin

initdb()
app = FastAPI()
app.mount(PREFIX, TradewindPlugin.fastapi_apps[0]["app"])
init_auth_manager(app)
manager = create_auth_manager()
client = TestClient(app, follow_redirects=False)
for line in sys.stdin:
    method, path, role, headers, body = json.loads(line)
    if role:
        user = SimpleAuthManagerUser(username=f"the {role}", role=role)
        headers["Authorization"] = "Bearer " + manager.generate_jwt(user)
    answer = client.request(method, PREFIX + path, headers=headers, json=body)
    print("ANSWER", json.dumps([answer.status_code, dict(answer.headers), answer.text]), flush=True)
"""
RUN, NAME = "manual__2026-01-01T00:00:00+00:00", "tickets-manual__2026-01-01T00:00:00+00:00"
PATHS = (
    "/models",
    f"/models/{MODEL}/versions/1/card",
    f"/runs/{RECIPE}/{RUN}/report",
    f"/runs/{RECIPE}/{RUN}/files/reports/{NAME}/index.html",
)
ROLLBACK = f"/models/{MODEL}/rollback"
BUTTON = {"X-Tradewind": "rollback"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    publish_two(folder, {"recipe": RECIPE, "approved": "approved by <b>ada</b>: fresh rows"})
    return folder


@pytest.fixture(scope="module")
def ask(workspace, tmp_path_factory):
    """Return a function that asks as a user of some role, or nobody, and returns status, headers and text."""
    home = tmp_path_factory.mktemp("airflow")
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API_AUTH__JWT_SECRET": "of these tests only, and long enough for its algorithm: " + "x" * 40,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "TRADEWIND_WORKSPACE": str(workspace),
    }
    command = [sys.executable, "-c", SERVE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        (home / "errors.txt").open("w") as errors,
        subprocess.Popen(command, env=environment, stderr=errors, **pipes) as server,
    ):

        def request(method, path, role=None, headers=None, body=None):
            server.stdin.write(json.dumps([method, path, role, headers or {}, body]) + "\n")
            server.stdin.flush()
            for line in server.stdout:
                if line.startswith("ANSWER "):
                    return json.loads(line.removeprefix("ANSWER "))
            raise AssertionError((home / "errors.txt").read_text()[-3000:])

        yield request
        server.stdin.close()


def test_without_a_token_nothing_is_shown_and_nothing_moves(ask):
    for path in PATHS:
        assert ask("GET", path)[0] == 401, path
    assert ask("POST", ROLLBACK, headers=BUTTON, body={"version": "2", "why": "no"})[0] == 401


def test_a_viewer_reads_and_may_not_roll_back(ask, workspace):
    status, headers, text = ask("GET", "/models", "viewer")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert MODEL in text
    assert "0.900" in text
    assert "<svg" in text
    assert "run tickets-1" in text
    assert "&lt;b&gt;ada" in text, "what people write is shown, and never run"
    assert "data-model=" not in text, "no button that would be refused"
    status, _, text = ask("POST", ROLLBACK, "viewer", BUTTON, {"version": "2", "why": "no"})
    assert (status, f"may not do this with models of the DAG {RECIPE}" in text) == (403, True)
    assert "<p>a card</p>" in ask("GET", PATHS[1], "viewer")[2]


def test_a_rollback_needs_the_pages_header_a_reason_and_the_champion_that_was_seen(ask):
    assert ask("POST", ROLLBACK, "user", None, {"version": "2", "why": "no"})[0] == 400
    assert ask("POST", ROLLBACK, "user", BUTTON, {"version": "2", "why": "  "})[0] == 422
    status, _, text = ask("POST", ROLLBACK, "user", BUTTON, {"version": "1", "why": "no"})
    assert (status, "version 1 is no longer the champion, version 2 is" in text) == (409, True)
    assert ask("POST", "/models/unknown/rollback", "user", BUTTON, {"version": "1", "why": "no"})[0] == 404
    assert f'data-model="{MODEL}"' in ask("GET", "/models", "user")[2]


def test_a_report_and_its_pages_are_those_of_the_run(ask, workspace):
    missing = ask("GET", PATHS[2], "viewer")
    assert (missing[0], "has no run" in missing[2]) == (404, True)
    page = workspace / "reports" / NAME / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<html><head></head><body>the report</body></html>")
    (workspace / "reports" / "other").mkdir()
    (workspace / "reports" / "other" / "index.html").write_text("another run's")
    status, headers, _ = ask("GET", PATHS[2], "viewer")
    assert (status, headers["location"]) == (307, f"files/reports/{NAME}/index.html")
    status, headers, text = ask("GET", PATHS[3], "viewer")
    assert (status, "the report" in text) == (200, True)
    assert "script-src 'nonce-" in headers["content-security-policy"]
    for path in ("reports/other/index.html", "mlflow.db", f"reports/{NAME}/../other/index.html", "../secret"):
        assert ask("GET", f"/runs/{RECIPE}/{RUN}/files/{path.replace('..', '%2e%2e')}", "viewer")[0] == 404, path


def test_the_buttons_of_a_step_lead_to_its_data_and_to_its_curves(ask, workspace):
    run = "scheduled__2026-01-02T00:00:00+00:00"
    at = f"/runs/{RECIPE}/{run}"
    assert ask("GET", f"{at}/data", "")[0] == 401
    assert ask("GET", f"{at}/data", "viewer")[0] == ask("GET", f"{at}/mlflow/pretrain", "viewer")[0] == 404
    runs = Store(workspace).runs
    runs.create(f"{RECIPE}-{run}", {}, recipe_name=RECIPE, trigger="airflow")
    for node, page, text in (
        ("validate", "data_docs/index.html", "the checks"),
        ("finetune[team]", "logs/mlflow_run.json", '{"experiment_id": "3", "run_id": "abc"}'),
    ):
        reference = f"{node.split('[')[0]}/123"
        file = workspace / "artifacts" / reference / page
        file.parent.mkdir(parents=True)
        file.write_text(text)
        runs.record(f"{RECIPE}-{run}", node, {"reference": reference, "status": "done"})
    status, headers, _ = ask("GET", f"{at}/data", "viewer")
    assert (status, headers["location"]) == (307, "files/artifacts/validate/123/data_docs/index.html")
    assert "the checks" in ask("GET", f"{at}/{headers['location']}", "viewer")[2]
    status, _, text = ask("GET", f"{at}/mlflow/finetune%5Bteam%5D", "viewer")
    assert (status, "#/experiments/3/runs/abc" in text) == (200, True)
    assert f"mlflow ui --backend-store-uri sqlite:///{workspace / 'mlflow.db'}" in text
    assert ask("GET", f"{at}/mlflow/validate", "viewer")[0] == 404


def test_the_data_pages_of_a_run_that_its_data_stopped_are_shown(ask, workspace):
    run = "scheduled__2026-01-03T00:00:00+00:00"
    at, runs = f"/runs/{RECIPE}/{run}", Store(workspace).runs
    runs.create(f"{RECIPE}-{run}", {}, recipe_name=RECIPE, trigger="airflow")
    left = workspace / "partial" / "validate" / "456"
    (left / "data_docs").mkdir(parents=True)
    (left / "data_docs" / "index.html").write_text("what is wrong")
    (left / "quarantine.jsonl").write_text("a row")
    runs.record(f"{RECIPE}-{run}", "validate", {"status": "failed", "error": "bad rows", "partial": "validate/456"})
    status, headers, _ = ask("GET", f"{at}/data", "viewer")
    assert status == 307
    assert ask("GET", f"{at}/{headers['location']}", "viewer")[::2] == [200, "what is wrong"]
    assert ask("GET", f"{at}/files/partial/validate/456/quarantine.jsonl", "viewer")[0] == 404


def test_who_may_write_rolls_back_in_their_own_name(ask, workspace):
    from pipeline.config import Settings
    from pipeline.registry import Registry

    status, _, text = ask("POST", ROLLBACK, "user", BUTTON, {"version": "2", "why": "complaints"})
    assert (status, json.loads(text)) == (200, {"model": MODEL, "champion": "1"})
    registry = Registry.for_workspace(Settings(workspace=Path(workspace)))
    move = registry.moves(MODEL)[-1]
    assert (move.how, move.who, move.why, move.version) == ("rollback", "the user", "complaints", "1")
    assert "complaints (the user, " in registry.version(MODEL, "2").withdrawn
