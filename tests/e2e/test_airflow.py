"""`tradewind airflow` as a person meets it: started for real, asked over HTTP, stopped without a trace."""

import subprocess
from urllib.error import HTTPError

import psutil
import pytest
from local_airflow import LocalAirflow

from pipeline.cli.airflow_processes import session_members
from pipeline.config import Settings
from pipeline.registry import Registry
from pipeline.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def airflow(tiny_recipe, tmp_path):
    started = LocalAirflow(tiny_recipe.parent, tmp_path / "workspace")
    yield started
    started.stop()


def test_a_recipe_is_published_through_the_real_scheduler(airflow, tmp_path):
    with pytest.raises(HTTPError, match="401"):
        airflow.ask("/api/v2/dags")
    airflow.log_in()
    assert [dag["dag_id"] for dag in airflow.ask("/api/v2/dags")["dags"]] == ["tiny"], "no example DAGs"
    assert airflow.ask("/api/v2/importErrors")["total_entries"] == 0
    assert airflow.ask("/api/v2/pools/training")["slots"] >= 1
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

    run = airflow.trigger({"pretrain.steps": 6})
    assert airflow.wait_for_run(run) == "success"
    assert airflow.tasks(run)["model.publish"]["rendered_map_index"] == "kind"
    assert airflow.tasks(run)["pretrain"]["pool"] == "training"
    events = airflow.ask("/api/v2/assets/events")["asset_events"]
    refreshed = {event["uri"]: event["extra"] for event in events}
    assert set(refreshed) == {"tradewind://backbones/tiny", "tradewind://models/tiny-kind"}
    assert (refreshed["tradewind://models/tiny-kind"]["version"], events[0]["source_dag_id"]) == ("1", "tiny")
    record = Store(tmp_path / "workspace").runs.load(f"tiny-{run}")
    assert record["outcome"] == "succeeded"
    assert record["recipe"]["pretrain"]["steps"] == 6
    assert Registry.for_workspace(Settings(workspace=tmp_path / "workspace")).champion("tiny-kind") is not None

    airflow.stop()
    assert airflow.process.returncode == 0
    assert session_members(airflow.sessions) == []
    assert not (airflow.home / "processes.json").exists()
