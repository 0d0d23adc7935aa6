"""docker/kubernetes: of the schemas of Kubernetes, and true to the project, the images and each other."""

import kubernetes_validate
import pytest
import yaml
from deployment_files import (
    COMPOSE,
    DOCKER,
    KUBERNETES,
    airflow_options,
    check_command,
    check_environment,
    check_places,
)

VERSIONS = ("1.31", "1.37")
NO_RESOURCES = ("kustomization.yaml", "airflow-values.yaml")
RESOURCES = [document for name, found in KUBERNETES.items() if name not in NO_RESOURCES for document in found]
VALUES = KUBERNETES["airflow-values.yaml"][0]
# The files of docker/secrets become one Secret.
SECRETS = set(COMPOSE["secrets"])


def named(kind: str, name: str) -> dict:
    (found,) = [one for one in RESOURCES if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> list[dict]:
    templates = [one["spec"]["template"]["spec"] for one in RESOURCES if one["kind"] in ("Deployment", "Job")]
    return templates + [one["spec"] for one in RESOURCES if one["kind"] == "Pod"]


CONTAINERS = [container for pod in pods() for container in pod["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_they_are_of_the_schemas(version) -> None:
    for resource in RESOURCES:
        kubernetes_validate.validate(resource, version, strict=True)
    wrong = {**RESOURCES[0], "sepc": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_environments_commands_and_folders_are_true() -> None:
    check_environment(named("ConfigMap", "tradewind-airflow")["data"], SECRETS)
    for container in CONTAINERS:
        values = {entry["name"]: entry.get("value", "") for entry in container.get("env", ())}
        check_environment(values, SECRETS)
        if "command" in container:
            check_command(container["command"] + container.get("args", []))
    for section, chosen in VALUES["config"].items():
        for option in chosen:
            assert option in airflow_options()[section], option
    check_places(yaml.safe_dump(VALUES), SECRETS)


def test_pods_have_no_privileges_and_limited_memory() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == VALUES["uid"] == 50_000
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert "memory" in container["resources"]["limits"]
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


def test_what_is_mounted_and_named_is_there() -> None:
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                named("PersistentVolumeClaim", claim["claimName"])
            for item in volume.get("secret", {}).get("items", ()):
                assert item["key"] in SECRETS
    secret = named("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"]
    assert secret["secretKeyRef"]["key"] in SECRETS
    for name in KUBERNETES["kustomization.yaml"][0]["resources"]:
        assert (DOCKER / "kubernetes" / name).is_file()
    assert named("PersistentVolumeClaim", "workspace")["spec"]["accessModes"] == ["ReadWriteMany"]


def test_services_find_their_pods_and_probes_their_port() -> None:
    for name, port in {"mlflow": 5000, "serve": 8000}.items():
        deployment, service = named("Deployment", name), named("Service", name)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["ports"] == [{"name": "http", "containerPort": port}]
        assert str(port) in container["command"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] == "http"
    probes = named("Deployment", "serve")["spec"]["template"]["spec"]["containers"][0]
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert probes["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert named("HorizontalPodAutoscaler", "serve")["spec"]["scaleTargetRef"]["name"] == "serve"
    assert named("PodDisruptionBudget", "serve")["spec"]["selector"]["matchLabels"] == {"app": "serve"}


def test_the_job_meets_at_its_first_pod_and_starts_again_what_was_interrupted() -> None:
    job, service = named("Job", "train")["spec"], named("Service", "train")
    environment = {entry["name"]: entry["value"] for entry in job["template"]["spec"]["containers"][0]["env"]}
    assert job["completionMode"] == "Indexed"
    assert int(environment["TRADEWIND_NUM_PROCESSES"]) == job["completions"] == job["parallelism"]
    assert environment["TRADEWIND_COORDINATOR"].startswith(f"train-0.{service['metadata']['name']}:")
    assert job["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert 75 in rule["onExitCodes"]["values"]


def test_steps_that_train_get_the_pod_with_a_gpu() -> None:
    scope: dict = {}
    exec(VALUES["airflowLocalSettings"], scope)

    class Task:
        def __init__(self, task_type: str, step: str = "") -> None:
            self.task_type, self.step, self.executor_config = task_type, step, {}

    for task, gpu in [
        (Task("LaunchedStep", "pretrain"), True),
        (Task("LaunchedStep", "preprocess"), False),
        (Task("LaunchedStep", "validate"), False),
    ]:
        scope["task_policy"](task)
        assert bool(task.executor_config) == gpu
    gpu = named_file("pod-gpu.yaml")["containers"][0]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1
    cpu = named_file("pod-cpu.yaml")["containers"][0]
    assert cpu["name"] == gpu["name"] == "base", "Airflow asks for that name"
    assert VALUES["config"]["kubernetes_executor"]["pod_template_file"].endswith("/pod-cpu.yaml")


def named_file(name: str) -> dict:
    return KUBERNETES[name][0]["spec"]
