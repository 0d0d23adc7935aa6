"""docker/Dockerfile: linted, and true to the project: what it copies, installs and starts is there."""

import re
import shutil
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

# What the DAG side loads.
LOADS = """
import recipes
assert "icd10" in vars(recipes)
import airflow.jobs.scheduler_job_runner
import airflow_plugin.pages, airflow_plugin.plugin, airflow_plugin.ray_job
import pipeline.judge.charts, pipeline.registry.overview
from pipeline.registry import Mlflow
from pathlib import Path
Mlflow("http://127.0.0.1:9", Path("files")).client
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


@pytest.mark.slow
def test_the_small_image_can_be_built_and_loads_the_dags_and_has_no_backend(tmp_path) -> None:
    """As the Dockerfile builds it, from what the environment of the tests has left in uv's cache."""
    assert not pins("scheduling.txt").keys() & {"keras", "jax", "tensorflow", "torch", "mlflow", "pandas"}
    if not (uv := shutil.which("uv", path=sysconfig.get_path("scripts"))):
        pytest.skip("uv is not there: the environment was made with INSTALLER=pip")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--offline", "--python", sys.executable, tmp_path / "venv"], check=True)
    there = [uv, "pip", "sync", "--quiet", "--offline", "--python", python, "--require-hashes"]
    built = subprocess.run([*there, PROJECT / "requirements" / "scheduling.txt"], capture_output=True, text=True)
    if built.returncode and "offline" in built.stderr:
        pytest.skip("uv's cache lacks packages of requirements/scheduling.txt; `uv pip sync` of it fills the cache")
    assert built.returncode == 0, built.stderr
    installed = [uv, "pip", "install", "--quiet", "--offline", "--python", python, "--no-deps", "--no-build-isolation"]
    subprocess.run([*installed, PROJECT], check=True)
    loaded = [python, "-c", LOADS]
    environment = {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT / "dags"), "PATH": "/usr/bin:/bin"}
    environment["TRADEWIND_RECIPES"] = str(PROJECT / "configs")
    ended = subprocess.run(loaded, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert subprocess.run([python.parent / "tradewind", "--version"], capture_output=True).returncode == 0


def test_the_group_of_the_small_image_asks_for_what_the_project_asks_for() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    asked = set(project["project"]["dependencies"]).union(*project["project"]["optional-dependencies"].values())
    small = {entry.replace("mlflow-skinny", "mlflow") for entry in project["dependency-groups"]["scheduling"]}
    assert small <= asked


def pins(name: str) -> dict[str, str]:
    text = (PROJECT / "requirements" / name).read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", text, re.MULTILINE))
