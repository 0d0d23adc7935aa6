"""A process that is killed while it publishes, at every point where it can hurt: the champion serves on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from delivery_cases import MODEL, publish, write_export

from pipeline.config import Settings
from pipeline.registry import CHAMPION, PREVIOUS, Registry

# Each child of this process gets the next point, and does not live to tell.
KILLER = """
import os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from delivery_cases import publish
from pipeline.config import Settings
from pipeline.registry import Registry

workspace = Path(sys.argv[1])
warm = Registry.for_workspace(Settings(workspace=workspace / "warm"))
publish(warm, workspace / "export-1", 1)  # imports MLflow once for all children

def die(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)

for point in sys.argv[2:]:
    child = os.fork()
    if not child:
        registry = Registry.for_workspace(Settings(workspace=workspace / point))
        client = registry.mlflow.client
        keep = client.set_registered_model_alias
        match point:
            case "files":
                client.log_model_artifacts = die
            case "version":
                client.create_model_version = die
            case "candidate":
                client.set_registered_model_alias = die
            case "champion":
                client.set_registered_model_alias = lambda model, alias, version: (
                    die() if alias == "champion" else keep(model, alias, version)
                )
        publish(registry, workspace / "export-2", 2)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, point
"""
POINTS = ("files", "version", "candidate", "champion")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of workspaces, in each of which a second publishing was killed at another point."""
    folder = tmp_path_factory.mktemp("killed")
    for number in (1, 2):
        write_export(folder / f"export-{number}", number)
    publish(Registry.for_workspace(Settings(workspace=folder / "warm")), folder / "export-1", 1)
    for point in POINTS:  # copies: MLflow takes seconds to make its tables
        (folder / point).mkdir()
        shutil.copy(folder / "warm" / "mlflow.db", folder / point)
    code = KILLER.format(path=[path for path in sys.path if "tests" in path])
    subprocess.run([sys.executable, "-c", code, str(folder), *POINTS], check=True)
    return folder


@pytest.mark.parametrize("point", POINTS)
def test_the_champion_serves_and_the_next_try_finishes(killed: Path, point: str) -> None:
    registry = Registry.for_workspace(Settings(workspace=killed / point))
    champion = registry.champion(MODEL)
    assert champion.version == "1"
    assert champion.checked_bundle()
    registered = len(registry.versions(MODEL))
    assert registered == (1 if point in ("files", "version") else 2)
    assert publish(registry, killed / "export-2", 2).version == "2"
    assert registry.aliases(MODEL) == {CHAMPION: "2", PREVIOUS: "1"}
    assert len(registry.moves(MODEL)) == (2 if point != "champion" else 3)
