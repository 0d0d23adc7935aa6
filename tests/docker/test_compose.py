"""docker/compose.yaml: of the compose specification, and true to the project."""

import importlib.util
import re

import pytest
import yaml
from compose_spec import PyCompose
from deployment_files import (
    COMPOSE,
    DOCKER,
    KUBERNETES,
    PROJECT,
    airflow_options,
    check_command,
    check_environment,
    check_places,
)

SERVICES = COMPOSE["services"]
SECRETS = set(COMPOSE["secrets"])
VARIABLE = r"\$\{(\w+):-([^}]*)\}"


def test_it_is_of_the_specification() -> None:
    plain = yaml.safe_dump(with_defaults(COMPOSE))
    assert set(PyCompose.from_yaml(plain).service_names()) == set(SERVICES)
    with pytest.raises(Exception, match="helthcheck"):
        PyCompose.from_yaml(plain.replace("healthcheck", "helthcheck"))


def with_defaults(value):
    """Return a part of the file with the defaults of its variables in their place."""
    if isinstance(value, dict):
        return {name: with_defaults(part) for name, part in value.items()}
    if isinstance(value, list):
        return [with_defaults(part) for part in value]
    return re.sub(VARIABLE, r"\2", value) if isinstance(value, str) else value


def test_every_variable_has_a_default_and_stands_in_the_example() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    example = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    used = dict(re.findall(VARIABLE, text))
    assert used.keys() == example.keys() - {"COMPOSE_PROFILES"}
    assert used == {name: example[name] for name in used}
    assert example["COMPOSE_PROFILES"] in {"cpu", "gpu"}
    assert not re.search(r"(?i)(password|secret|token|key)=\S", (DOCKER / ".env.example").read_text())


def test_services_are_limited_watched_and_without_privileges() -> None:
    for name, service in SERVICES.items():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert "healthcheck" in service or name == "migrate", name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not any(port.startswith("0.0.0.0") for port in service.get("ports", ())), name


def test_secrets_are_those_that_the_script_makes_and_are_given_to_who_names_them(tmp_path) -> None:
    spec = importlib.util.spec_from_file_location("make_secrets", DOCKER / "make_secrets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.make(tmp_path / "secrets")
    assert {file.name for file in made} == SECRETS
    assert all(secret["file"] == f"secrets/{name}" for name, secret in COMPOSE["secrets"].items())
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert module.make(tmp_path / "secrets") == [], "those that are there stay"
    hosts = {module.POSTGRES: "postgres", module.REDIS: "redis"}
    assert set(hosts.values()) <= set(SERVICES)
    for name, service in SERVICES.items():
        text = yaml.safe_dump([service.get(key) for key in ("environment", "command", "healthcheck")])
        named = set(re.findall(r"/run/secrets/(\w+)", text)) | mounted(service)
        assert named == set(service.get("secrets", ())), name


def mounted(service: dict) -> set[str]:
    """Return the secrets that a script which is mounted into a service reads."""
    scripts = [DOCKER / volume.split(":")[0] for volume in service.get("volumes", ()) if volume.startswith("./")]
    return (
        {"airflow_password", "mlflow_password"} if any("${name}_password" in s.read_text() for s in scripts) else set()
    )


def test_environments_commands_and_folders_are_true() -> None:
    for service in SERVICES.values():
        check_environment(service.get("environment", {}), SECRETS)
        if "command" in service:
            check_command(service["command"])
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
            assert f"AS {service['build']['target']}\n" in (DOCKER / "Dockerfile").read_text()
        for volume in service.get("volumes", ()):
            source, target = re.sub(VARIABLE, r"\2", volume).split(":")[:2]
            assert source in COMPOSE["volumes"] or source == "../data" or (DOCKER / source).exists(), volume
            if target.startswith("/opt/tradewind"):
                check_places(target, SECRETS)


def test_hosts_and_ports_that_are_named_are_those_of_the_services() -> None:
    environment = SERVICES["scheduler"]["environment"]
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://api-server:8080/execution/"
    for name, port in {"api-server": "8080", "mlflow": "5000", "serve": "8000"}.items():
        command = " ".join(SERVICES[name]["command"])
        assert re.search(rf"--port {port}\b", command)
        assert SERVICES[name]["ports"][0].endswith(f":{port}")
        assert f"127.0.0.1:{port}" in SERVICES[name]["healthcheck"]["test"][-1]
    assert environment["TRADEWIND_REGISTRY"] == "http://mlflow:5000"


def test_kubernetes_has_the_same_settings() -> None:
    (settings,) = KUBERNETES["settings.yaml"]
    composed = SERVICES["worker"]["environment"]
    for name, value in settings["data"].items():
        if name != "AIRFLOW__CORE__EXECUTION_API_SERVER_URL":
            assert value == composed[name], name


def test_airflow_tells_its_parts_the_health_that_is_asked_for() -> None:
    assert (PROJECT / "docker" / "postgres" / "databases.sh").stat().st_mode & 0o111
    assert "enable_health_check" in airflow_options()["scheduler"]
    assert "8974" in SERVICES["scheduler"]["healthcheck"]["test"][-1]
