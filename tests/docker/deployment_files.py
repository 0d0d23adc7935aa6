"""The files of a deployment as the tests read them, and what is true of commands and options in either of them."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
import yaml

from pipeline.cli.application import application
from pipeline.config import Settings

PROJECT = Path(__file__).parents[2]
DOCKER = PROJECT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
KUBERNETES = {
    file.name: list(yaml.safe_load_all(file.read_text())) for file in sorted((DOCKER / "kubernetes").glob("*.yaml"))
}
FOLDERS = {
    "/opt/tradewind/dags": "dags",
    "/opt/tradewind/configs": "configs",
    "/opt/tradewind/pods": "docker/kubernetes",
}
PLACES = {"TRADEWIND_NUM_PROCESSES", "TRADEWIND_COORDINATOR"}  # of pipeline/cluster/place.py

OPTIONS = """
import json
from airflow.providers_manager import ProvidersManager
from airflow.configuration import conf
ProvidersManager().initialize_providers_configuration()
description = conf.configuration_description
print(json.dumps({section: list(found["options"]) for section, found in description.items()}))
"""


@cache
def airflow_options() -> dict[str, list[str]]:
    """Return Airflow's sections and their options, those of installed providers too."""
    with TemporaryDirectory() as home:
        environment = os.environ | {"AIRFLOW_HOME": home}
        command = [sys.executable, "-c", OPTIONS]
        asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(asked.stdout.splitlines()[-1])


def check_environment(environment: dict[str, str], secrets: set[str]) -> None:
    """Check that every name is an option of Airflow or a setting of ours, and every place in a value is there."""
    for name, value in environment.items():
        if name.startswith("AIRFLOW__"):
            _, section, option = name.lower().split("__")
            command = option.removesuffix("_cmd")
            free = section == "celery_broker_transport_options"  # passed on to Celery as they are
            assert free or command in airflow_options()[section], name
            if command != option:
                assert re.fullmatch(r"cat /run/secrets/\w+", value), name
        elif name.startswith("TRADEWIND_"):
            assert name in PLACES or name.removeprefix("TRADEWIND_").lower() in Settings.model_fields, name
        check_places(value, secrets)


def check_places(text: str, secrets: set[str]) -> None:
    """Check that the secrets and the project's folders that a text names are there."""
    for secret in re.findall(r"/run/secrets/(\w+)", text):
        assert secret in secrets, f"{secret} in {text}"
    for place, rest in re.findall(r"(/opt/tradewind/\w+)(/[\w.-]+)?", text):
        assert (PROJECT / FOLDERS[place] / rest.lstrip("/")).exists(), text


def check_command(command: list[str]) -> None:
    """Check that a command line of ours has only commands and options that there are."""
    if command[0] != "tradewind":
        return
    group = typer.main.get_command(application())
    found = group.commands[command[1]]
    values = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", part) for part in command[2:]]
    # A file that only the container has need not be here.
    found.make_context(command[1], [__file__ if part.startswith(("/run/", "/recipes/")) else part for part in values])
