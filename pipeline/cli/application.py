"""All commands in one application, and what a person sees when one of them fails."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from pipeline.cli import airflow, checkpoint, data, models, monitor, plan, predict, recipe, run, serve, store
from pipeline.cli.failure import Failed
from pipeline.cluster.place import end_now, find_place
from pipeline.errors import Interrupted, TradewindError

RETRY = 75  # what schedulers read as "try again" (EX_TEMPFAIL)
HELP = """Train Transformers on your own text, on a schedule, and publish those that prove themselves.

A recipe, one YAML file in configs/, says what to train, on what, and how it is judged.

Start with: tradewind run configs/icd10.yaml
"""


def application() -> typer.Typer:
    """Return the command line with all its commands."""
    app = typer.Typer(
        name="tradewind", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    app.callback()(options)
    for part in (run, recipe, plan, data, predict, serve, models, monitor, checkpoint, store, airflow):
        part.register(app)
    return app


def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, help="Show the version and exit.", callback=lambda asked: show_version(asked)
        ),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


def show_version(asked: bool) -> None:
    """Print the version and exit, when asked to."""
    if asked:
        typer.echo(f"tradewind {version('tradewind')}")
        raise typer.Exit


def execute(arguments: Sequence[str] | None = None, app: typer.Typer | None = None) -> int:
    """Run one command and return its exit code.

    0: done; 1: an error; 2: wrong usage; 75: a signal stopped a step, which saved its state and wants to be run again;
    130: Ctrl-C.

    An error of the input is told in one message. An error of the program comes with its traceback. After either, and
    after Ctrl-C, the last line is the command that goes on from there.
    """
    command = typer.main.get_command(app or application())
    try:
        command(None if arguments is None else list(arguments), prog_name="tradewind")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Failed as failure:
        return _tell(failure.cause, failure)
    except (Exception, KeyboardInterrupt) as error:
        return _tell(error, None)
    return 0


def _tell(error: BaseException, failure: Failed | None) -> int:
    """Write to stderr what failed, why, and how to go on."""
    what = f"{failure.what} failed: " if failure else ""
    if isinstance(error, KeyboardInterrupt):
        kept = "; finished steps and the last checkpoint are kept" if failure else ""
        line, code = f"{failure.what if failure else 'tradewind'} was interrupted{kept}", 130
    elif isinstance(error, Interrupted):
        line, code = f"{failure.what if failure else 'tradewind'} was interrupted: {error}", RETRY
    elif isinstance(error, TradewindError):
        line, code = f"{what}{error}", 1
    else:
        traceback.print_exception(error)
        line, code = f"{what}{type(error).__name__}: {error} (an error of the program; its traceback is above)", 1
    typer.secho(f"✗ {line}", fg="red", err=True)
    if failure:
        typer.echo(f"  to resume: {failure.resume}", err=True)
    sys.stderr.flush()
    if find_place(os.environ):
        end_now(code)
    return code
