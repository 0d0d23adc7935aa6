import shlex

import pytest
import typer

from pipeline.cli.application import execute
from pipeline.cli.failure import command_line, resumable
from pipeline.errors import Interrupted, SourceError

ERRORS = {
    "input": SourceError("data.csv has no column `label`"),
    "bug": ZeroDivisionError("by zero"),
    "signal": Interrupted("saved at step 40"),
    "stop": KeyboardInterrupt(),
}


@pytest.fixture
def app() -> typer.Typer:
    """Return a command line whose commands fail in each way, before and during a resumable part."""
    app = typer.Typer(pretty_exceptions_enable=False)

    def fail(how: str) -> None:
        raise ERRORS[how]

    @app.command()
    def early(how: str) -> None:
        fail(how)

    @app.command()
    def late(how: str) -> None:
        with resumable(lambda: "finetune topic", lambda: f"tradewind late {how}"):
            fail(how)

    return app


def test_error_of_the_input_is_one_message_and_the_resume_command(app, capsys):
    assert execute(["late", "input"], app) == 1
    assert capsys.readouterr().err == (
        "✗ finetune topic failed: data.csv has no column `label`\n  to resume: tradewind late input\n"
    )


def test_error_of_the_program_comes_with_its_traceback_and_ends_with_the_resume_command(app, capsys):
    assert execute(["late", "bug"], app) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2].startswith("✗ finetune topic failed: ZeroDivisionError: by zero")
    assert lines[-1] == "  to resume: tradewind late bug"


def test_interruption_exits_130_with_the_resume_command(app, capsys):
    assert execute(["late", "stop"], app) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "✗ finetune topic was interrupted; finished steps and the last checkpoint are kept",
        "  to resume: tradewind late stop",
    ]


def test_step_that_saved_itself_at_a_signal_exits_75_so_that_a_scheduler_retries(app, capsys):
    assert execute(["late", "signal"], app) == 75
    assert capsys.readouterr().err == (
        "✗ finetune topic was interrupted: saved at step 40\n  to resume: tradewind late signal\n"
    )


@pytest.mark.parametrize(("how", "code"), [("input", 1), ("bug", 1), ("stop", 130)])
def test_commands_that_cannot_resume_keep_the_exit_codes(app, capsys, how, code):
    assert execute(["early", how], app) == code
    assert "to resume" not in capsys.readouterr().err


def test_success_is_0_and_wrong_usage_is_2(capsys):
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tradewind ")
    assert execute(["nonsense"]) == 2
    assert execute(["run"]) == 2


def test_command_line_survives_a_shell():
    line = command_line("run", "my recipes/a.yaml", **{"from": None}, task=["x", "y"], set=["airflow.tags=[a, b]"])
    assert shlex.split(line) == [
        *("tradewind", "run", "my recipes/a.yaml", "--task", "x", "--task", "y"),
        *("--set", "airflow.tags=[a, b]"),
    ]
    assert command_line("run", "r.yaml", **{"from": "gate"}) == "tradewind run r.yaml --from gate"
