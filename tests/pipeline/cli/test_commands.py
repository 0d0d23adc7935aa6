import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import main
from pipeline.cli.application import application
from pipeline.flow import STEPS

SOUND = """\
name: demo
data:
  sources:
    notes: {kind: files, path: nowhere/notes.csv}
tasks:
  topic:
    data: {source: notes}
  tone:
    data: {source: notes, label: tone}
"""
COMMANDS = [
    "run",
    "step",
    "plan",
    "predict",
    "runs",
    "show",
    "gc",
    "airflow",
    "recipe schema",
    "recipe show",
    "recipe check",
]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(SOUND)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(command):
    result = CliRunner().invoke(application(), [*command.split(), "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    about, _, options = result.output.partition("Options")
    assert f"Usage: tradewind {command}" in " ".join(about.split()) or f"{command}" in about
    assert len(about.split()) > 12, "a newcomer needs a sentence"
    for line in options.splitlines():
        if line.startswith("│ --"):
            assert len(line.strip("│ ").split()) > 2, f"no help: {line}"


def test_help_of_the_whole_lists_the_commands():
    result = CliRunner().invoke(application(), ["--help"])
    for command in COMMANDS:
        assert f"│ {command.split()[0]} " in result.output


def test_commands_start_without_the_heavy_libraries():
    heavy = (
        "{'keras', 'jax', 'tensorflow', 'pandas', 'mlflow', 'great_expectations', 'sklearn', 'airflow', 'matplotlib'}"
    )
    code = f"import sys, pipeline.cli.application, pipeline.recipes; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_schema_is_json_schema_of_a_recipe():
    result = CliRunner().invoke(application(), ["recipe", "schema"])
    schema = json.loads(result.output)
    assert schema["required"] == ["name", "data", "tasks"]


def test_show_prints_yaml_with_defaults_and_overrides(folder):
    result = CliRunner().invoke(application(), ["recipe", "show", "r.yaml", "--set", "pretrain.steps=7"])
    values = yaml.safe_load(result.output)
    assert values["pretrain"]["steps"] == 7
    assert values["preprocess"]["split"]["test"] == 0.1


def test_check_names_what_a_sound_recipe_has(folder, capsys):
    assert main(["recipe", "check", "r.yaml"]) == 0
    assert capsys.readouterr().out == "r.yaml: sound. Sources: notes. Tasks: topic, tone.\n"


def test_check_of_a_wrong_recipe_exits_1_with_the_problem_and_no_traceback(folder, capsys):
    assert main(["recipe", "check", "r.yaml", "--set", "pretrain.stepz=7"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("✗ r.yaml: override pretrain.stepz: received the unknown key")
    assert "Traceback" not in output.err


def test_check_looks_for_the_backbone_that_a_recipe_starts_from(folder, capsys):
    assert main(["recipe", "check", "r.yaml", "--set", "pretrain.start_from=nowhere"]) == 1
    assert "pretrain.start_from is 'nowhere', where there is no backbone.json" in capsys.readouterr().err
    assert not (folder / "workspace").exists()


def test_wrong_recipe_stops_a_run_with_the_command_to_repeat(folder, capsys):
    (folder / "r.yaml").write_text(SOUND + "seed: -1\n")
    assert main(["run", "r.yaml", "--task", "topic", "--set", "airflow.tags=[a, b]"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("✗ reading the recipe failed: r.yaml:10: seed: received -1; expected")
    assert lines[-1] == "  to resume: tradewind run r.yaml --task topic --set 'airflow.tags=[a, b]'"


def test_failing_step_is_named_with_the_reason_and_the_resume_command(folder, capsys, monkeypatch):
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(folder / "workspace"))
    assert main(["run", "r.yaml", "--set", "seed=3"]) == 1
    *_, error, resume = capsys.readouterr().err.splitlines()
    assert error.startswith("✗ validate failed: ")
    assert "nowhere/notes.csv" in error
    assert resume == "  to resume: tradewind run r.yaml --set seed=3"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["run", "r.yaml", "--task", "topik"],
            "received 'topik', did you mean \"topic\"?; expected one of topic, tone",
        ),
        (["run", "r.yaml", "--from", "trian"], "expected one of " + ", ".join(STEPS)),
        (["step", "finetun", "r.yaml"], "received 'finetun', did you mean \"finetune\"?"),
        (["step", "finetune", "r.yaml"], "finetune runs for one task; expected one of topic, tone"),
        (["step", "pretrain", "r.yaml", "--task", "topic"], "all tasks share the step pretrain; leave --task out"),
    ],
)
def test_wrong_names_are_usage_errors_with_the_right_ones(folder, capsys, arguments, expected):
    assert main(arguments) == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert expected in shown
