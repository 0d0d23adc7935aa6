"""An Airflow home for the tests, set before anything imports Airflow, and the DAGs of a folder of recipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"

TIMEOUT = 900

LoadDags = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(home))
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{home / 'airflow.db'}")
        patch.syspath_prepend(str(DAGS))
        yield home


@pytest.fixture
def load_dags(monkeypatch: pytest.MonkeyPatch) -> LoadDags:
    """Return a function that loads the project's DAG folder as Airflow does, for a folder of recipes."""

    def load(recipes: Path) -> dict[str, Any]:
        from airflow.dag_processing.dagbag import DagBag

        monkeypatch.setenv("TRADEWIND_RECIPES", str(recipes))
        bag = DagBag(str(DAGS))
        assert bag.import_errors == {}
        return dict(bag.dags)

    return load


@pytest.fixture(scope="session")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of an Airflow with a database, as the processes of the slow tests get it."""
    home = tmp_path_factory.mktemp("airflow-run")
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "PYTHONPATH": os.pathsep.join((str(DAGS), os.environ.get("PYTHONPATH", ""))),
    }
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, timeout=TIMEOUT)
    return environment
