"""A registry that every test gets a copy of."""

import shutil
from pathlib import Path

import pytest
from delivery_cases import make_registry

from pipeline.config import Settings
from pipeline.registry import Registry


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("delivered")
    make_registry(workspace)
    return workspace


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> Registry:
    """The files are shared and only read; the database is the test's own."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    shutil.copy(made / "mlflow.db", workspace / "mlflow.db")
    return Registry.for_workspace(Settings(workspace=workspace))
