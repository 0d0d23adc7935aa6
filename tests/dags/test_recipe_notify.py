"""Messages go out as a web server gets them, by a connection that holds the address; what cannot go out is said."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest

from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe


@pytest.fixture
def server():
    """Return a web server that keeps what it is sent, and refuses what is sent to /refuse."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if "refuse" in self.path else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as started:
        started.got = []
        Thread(target=started.serve_forever, daemon=True).start()
        yield started
        started.shutdown()


@pytest.fixture
def connect(server, monkeypatch):
    """Return a function that gives Airflow a connection to a path of the server."""

    def add(name, path=""):
        config = {"path": f"json://127.0.0.1:{server.server_port}/{path}"}
        value = {"conn_type": "apprise", "extra": {"config": config}}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(value))

    return add


def context():
    return {"run_id": "run-7", "exception": "failed: validate", "ti": SimpleNamespace(log_url="http://airflow/log")}


def test_a_failure_is_told_to_all_who_are_named(server, connect, tiny_recipe):
    from recipe_notify import notifiers

    connect("team"), connect("boss")
    recipe = load_recipe(tiny_recipe, ["airflow.notify.to=[team, boss]"])
    for notifier in notifiers(recipe, "failure"):
        notifier(context())
    assert [message["title"] for message in server.got] == ["tiny: a run has failed"] * 2
    assert server.got[0]["message"] == "run-7: failed: validate\nhttp://airflow/log"
    assert server.got[0]["type"] == "failure"


def test_nobody_is_told_of_what_nobody_asked_for(tiny_recipe):
    from recipe_notify import notifiers

    assert notifiers(load_recipe(tiny_recipe), "failure") == []
    assert notifiers(load_recipe(tiny_recipe, ["airflow.notify.to=[team]"]), "success") == []


def test_a_late_run_is_told_as_airflow_runs_the_callback_of_a_deadline(server, connect, tiny_recipe):
    import structlog
    from airflow.sdk.execution_time.callback_supervisor import execute_callback

    from recipe_limits import deadlines

    connect("team")
    (alert,) = deadlines(load_recipe(tiny_recipe, ["airflow.notify.to=[team]", "airflow.deadline_minutes=90"]))
    for state, run in (("failed", "run-6"), ("success", "run-5"), ("running", "run-7")):
        given = alert.callback.kwargs | {"context": {"dag_run": {"dag_run_id": run, "state": state}, "deadline": {}}}
        assert execute_callback(alert.callback.path, given, "", None, structlog.get_logger()) == (True, None)
    (message,) = server.got  # Airflow keeps the deadline of a run that has failed
    assert message["title"] == "tiny: a run is still going after 90 minutes"
    assert message["message"] == "run-7"


def test_a_message_that_is_refused_is_an_error(server, connect):
    from recipe_notify import Notifier

    connect("team", "refuse")
    with pytest.raises(RuntimeError, match="the connection team did not take the message 'tiny: a run has failed'"):
        Notifier("team", "tiny: a run has failed", "{{ run_id }}")(context())
    assert server.got, "it was sent"


def test_a_task_goes_on_when_its_message_is_refused_and_the_next_connection_is_tried(
    server, connect, tiny_recipe, monkeypatch, caplog
):
    import recipe_notify

    connect("team", "refuse"), connect("boss")
    monkeypatch.setattr(recipe_notify, "get_current_context", context)
    recipe = load_recipe(tiny_recipe, ["airflow.notify={to: [team, boss], on: [published]}"])
    recipe_notify.tell(recipe, "published", published={"model": "tiny-kind", "version": "3"})
    assert [message["title"] for message in server.got] == ["tiny: tiny-kind has a new champion"] * 2
    assert "nobody was told through the connection team" in caplog.text
    assert "connection boss" not in caplog.text


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "'team', which Airflow does not have; add it .*airflow connections add team --conn-type apprise"),
        (
            {"conn_type": "http", "host": "x"},
            "'team', which is of the type 'http' and holds nothing; expected the type",
        ),
        ({"conn_type": "apprise", "extra": {"path": "json://x"}}, "holds path; expected the type apprise"),
    ],
)
def test_a_connection_that_cannot_tell_anybody_is_refused_before_anything_is_computed(
    tiny_recipe, monkeypatch, value, complaint
):
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    from recipe_notify import require_connections

    def get(name):
        if value is None:
            raise AirflowNotFoundException(name)
        return Connection.from_json(json.dumps(value), name)

    monkeypatch.setattr(Connection, "get", get)
    with pytest.raises(RecipeError, match=complaint):
        require_connections(load_recipe(tiny_recipe, ["airflow.notify.to=[team]"]))
