"""docker/Dockerfile: linted, and true to the project: what it copies, installs and starts is there."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from deployment_files import DOCKER, PROJECT, check_command

INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in (DOCKER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]

# Loads what the DAG side loads, with none of the packages that its image lacks.
LOADED = """
import sys
from importlib import metadata
owners, there = metadata.packages_distributions(), set(sys.argv[1:])
lacking = {top for top, owner in owners.items() if not {name.lower().replace("_", "-") for name in owner} & there}

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in lacking:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)

sys.meta_path.insert(0, Lacking())
try:
    import keras
except ModuleNotFoundError:
    pass
else:
    sys.exit("keras could be imported")
import recipes
import airflow_plugin.ray_job
assert "icd10" in vars(recipes)
import airflow.api_fastapi.app
import airflow.jobs.scheduler_job_runner
"""


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sysconfig.get_path("scripts"), "hadolint")
    ended = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_what_is_copied_is_there_and_let_through_by_dockerignore() -> None:
    allowed = [line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for instruction, rest in INSTRUCTIONS:
        if instruction != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            source = source.replace("${REQUIREMENTS}", "deploy.txt")
            assert list(PROJECT.glob(source)), source
            assert any(source == name or source.startswith(f"{name}/") for name in allowed), source


def test_requirements_that_an_argument_chooses_are_there() -> None:
    text = (DOCKER / "Dockerfile").read_text() + (DOCKER / "compose.yaml").read_text()
    chosen = set(re.findall(r"REQUIREMENTS[=:] ?([\w.-]+\.txt)", text))
    assert chosen == {"deploy.txt", "deploy-gpu.txt"}
    assert all((PROJECT / "requirements" / name).is_file() for name in chosen)
    assert "jax-cuda12-plugin" in pins("deploy-gpu.txt")


def test_stages_are_there_and_nothing_runs_as_root() -> None:
    stages = [rest.split()[-1] for instruction, rest in INSTRUCTIONS if instruction == "FROM"]
    assert stages[-2:] == ["airflow", "training"]
    users = [rest for instruction, rest in INSTRUCTIONS if instruction == "USER"]
    assert users == ["50000:0"]
    assert sum(instruction == "HEALTHCHECK" for instruction, _ in INSTRUCTIONS) == 2


def test_commands_are_there() -> None:
    for instruction, rest in INSTRUCTIONS:
        if instruction == "CMD" and "tradewind" in rest:
            command = re.findall(r'"([^"]+)"', rest)
            assert command == ["tradewind", "--help"]
    check_command(["tradewind", "serve", "m"])
    with pytest.raises(KeyError):
        check_command(["tradewind", "sail"])


def test_the_images_have_the_versions_of_the_tests() -> None:
    tested = pins("dev.txt")
    for name in ("deploy.txt", "scheduling.txt"):
        for package, version in pins(name).items():
            assert tested.get(package, version) == version, f"{package} in {name}"
    assert {"apache-airflow-providers-celery", "psycopg", "redis"} <= pins("scheduling.txt").keys()


def test_the_small_image_can_load_the_dags_and_has_no_backend(tmp_path) -> None:
    environment = {
        "AIRFLOW_HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'dags'}",
        "TRADEWIND_RECIPES": str(PROJECT / "configs"),
    }
    small = pins("scheduling.txt")
    assert not small.keys() & {"keras", "jax", "tensorflow", "torch", "mlflow", "great-expectations", "pandas"}
    loaded = [sys.executable, "-c", LOADED, "tradewind", *small]
    ended = subprocess.run(loaded, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_the_group_of_the_small_image_asks_for_what_the_project_asks_for() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    asked = set(project["project"]["dependencies"]).union(*project["project"]["optional-dependencies"].values())
    assert set(project["dependency-groups"]["scheduling"]) <= asked


def pins(name: str) -> dict[str, str]:
    text = (PROJECT / "requirements" / name).read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", text, re.MULTILINE))
