"""`tradewind run` and `tradewind step`: a recipe from raw text to published models, or one step of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from pipeline.cli.failure import command_line, resumable
from pipeline.cli.output import open_display
from pipeline.cli.recipe import Overrides, RecipeFile, RunDate, dates_of_run
from pipeline.cli.result import print_artifact, print_outcome
from pipeline.cluster.place import find_place
from pipeline.config import Recipe, Settings
from pipeline.config.wording import did_you_mean
from pipeline.dates import render
from pipeline.flow import STEPS, Flow
from pipeline.recipes import load_recipe
from pipeline.steps import GRAPH

SHARED = ("validate", "drift", "preprocess", "pretrain")


def known_step(name: str | None) -> str | None:
    """Return the name when it is one of a step, else say which there are."""
    if name is not None and name not in STEPS:
        raise typer.BadParameter(f"received {name!r}{did_you_mean(name, STEPS)}; expected one of {', '.join(STEPS)}")
    return name


def step_names() -> list[str]:
    """Return the names of the steps, for the shell's completion."""
    return list(STEPS)


Step = Annotated[
    str,
    typer.Argument(metavar="STEP", help=f"One of {', '.join(STEPS)}.", callback=known_step, autocompletion=step_names),
]


Profile = Annotated[
    bool,
    typer.Option(
        "--profile", help="Trace five updates of every training to logs/profile of its artifact; runtime.profile=true."
    ),
]


Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        metavar="N",
        min=1,
        help="Train in N processes of this machine; runtime.processes=N. Under torchrun, srun or an indexed Job, start "
        "this command in each process instead.",
    ),
]


def reason_of(reason: str | None) -> str | None:
    """Return the reason when it says something."""
    if reason is not None and not reason.strip():
        raise typer.BadParameter("received an empty reason; expected why the model is published")
    return reason


Force = Annotated[
    str | None,
    typer.Option(
        "--force",
        metavar="REASON",
        help="Publish whatever the verdict. The reason is kept in gate.json of the export and in the registry's tags.",
        callback=reason_of,
    ),
]


Approve = Annotated[
    str | None,
    typer.Option(
        "--approve",
        metavar="REASON",
        help="Publish what waits for a person: what publish.approval asks about, and what the gate hands to one. It is "
        "kept with the version, with your name and the time.",
        callback=reason_of,
    ),
]


def with_flags(overrides: list[str] | None, profile: bool, processes: int | None) -> list[str] | None:
    """Return the overrides, with those of the flags."""
    flags = ["runtime.profile=true"] if profile else []
    flags += [f"runtime.processes={processes}"] if processes else []
    return [*(overrides or []), *flags] or None


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("run")(run)
    app.command("step")(step)


def run(
    recipe: RecipeFile,
    restart: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STEP",
            help=f"Compute this step and all after it anew, even where nothing changed. One of {', '.join(STEPS)}.",
            callback=known_step,
            autocompletion=step_names,
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="NAME", help="Only this task of the recipe. Repeatable. Default: all."),
    ] = None,
    overrides: Overrides = None,
    profile: Profile = False,
    processes: Processes = None,
    force: Force = None,
    date: RunDate = None,
    approve: Approve = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="ID", help="Name of the run. Default: recipe and time.")
    ] = None,
) -> None:
    """Run a recipe from raw text to published models.

    Steps whose recipe values, inputs and code did not change are kept from earlier runs, so running the same command
    again after an interruption goes on where it stopped. A candidate that the gate refuses is a result, not an error:
    it is not published, the reasons are shown, and the exit code is 0.

    Example: tradewind run configs/icd10.yaml --task chapter --set pretrain.steps=200
    """
    display = open_display()
    overrides = with_flags(overrides, profile, processes)

    def resume() -> str:
        # What was computed anew before the failure is finished: go on from the step that failed.
        again = part_of(display.current.split("[")[0]) if restart and display.current else restart
        given = {"from": again, "task": tasks, "set": overrides, "force": force, "approve": approve, "date": date}
        return command_line("run", str(recipe), **given)

    with resumable(lambda: "reading the recipe", resume):
        found = load_recipe(recipe, overrides or [])
        dates = dates_of_run(date, found)
        found = render(found, dates)
    _check_tasks(found, tasks or [])
    with resumable(lambda: display.current or "run", resume):
        if helps(found):
            return
        flow = Flow.create(found, recipe, Settings(), run_id=run_id, trigger="cli", dates=dates)
        flow.force = force
        with crew_of(flow):
            outcome = flow.run(tasks or None, restart, display, approve)
    print_outcome(outcome, display.console)


def step(
    name: Step,
    recipe: RecipeFile,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="NAME", help="The task, for the steps from finetune on; default: the only one."),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="RUN", help="Take the inputs and the recipe of this run; `tradewind runs` lists them."
        ),
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option("--trial", metavar="N", min=1, help="Of finetune with a search: only this trial, from 1 on."),
    ] = None,
    overrides: Overrides = None,
    profile: Profile = False,
    processes: Processes = None,
    force: Force = None,
    date: RunDate = None,
) -> None:
    """Run one step of a recipe on what the steps before it have left.

    Example: tradewind step evaluate configs/icd10.yaml --task chapter
    """
    display = open_display()
    overrides = with_flags(overrides, profile, processes)
    if force is not None and name != "publish":
        raise typer.BadParameter(f"received it for the step {name}; only publish can be forced", param_hint="--force")
    if date is not None and run_id is not None:
        raise typer.BadParameter("received it with --run, and a run has its date already", param_hint="--date")
    if trial is not None and name != "finetune":
        raise typer.BadParameter(f"received it for the step {name}; only finetune has trials", param_hint="--trial")
    number = str(trial) if trial else None
    options = {"task": task, "run": run_id, "trial": number, "set": overrides, "force": force, "date": date}
    again = command_line("step", name, str(recipe), **options)
    with resumable(lambda: "reading the recipe", lambda: again):
        found = load_recipe(recipe, overrides or [])
        dates = dates_of_run(date, found)
        found = render(found, dates) if run_id is None else found
    chosen = _task_of(name, found, task)
    with resumable(lambda: display.current or f"step {name}", lambda: again):
        if helps(found):
            return
        if run_id is None:
            flow = Flow.create(found, recipe, Settings(), trigger="cli", dates=dates)
        else:
            flow = Flow.resume(run_id, Settings())
        flow.force = force
        with crew_of(flow):
            artifact = flow.step("trial" if trial else name, chosen, display, trial=trial)
        if name == "publish" and chosen is not None:
            version = flow.register(chosen)
            display.console.print(f"{version.name} version {version.version} is the champion")
        if run_id is None:
            flow.store.runs.finish(flow.run_id, "succeeded")  # a run of this one step
    print_artifact(artifact, display.console)


def part_of(step: str) -> str:
    """Return the step that a person names for this one."""
    return GRAPH[step].part_of or step if step in GRAPH else step


def helps(recipe: Recipe) -> bool:
    """Be one of several processes that a launcher has started, unless this is the first; return whether it was."""
    place = find_place(os.environ)
    if place is None or not place.process_id:
        return False
    from pipeline.cluster.crew import follow

    follow(place, recipe)
    return True


@contextmanager
def crew_of(flow: Flow) -> Iterator[None]:
    """Let the other processes that a launcher has started, if any, help the flow in the block to train."""
    place = find_place(os.environ)
    if place is None:
        yield
        return
    from pipeline.cluster.crew import Crew

    flow.crew = Crew(place, flow.recipe, logging.getLogger("tradewind").info)
    try:
        yield
    finally:
        flow.crew.close()


def _task_of(step: str, recipe: Recipe, task: str | None) -> str | None:
    """Return the task that a step runs for, or None for a step that all tasks share."""
    if step in SHARED and task is not None:
        raise _wrong_task(f"received {task!r}, but all tasks share the step {step}; leave --task out")
    if step in SHARED:
        return None
    if task is None and len(recipe.tasks) > 1:
        raise _wrong_task(f"{step} runs for one task; expected one of {', '.join(recipe.tasks)}")
    chosen = task or next(iter(recipe.tasks))
    _check_tasks(recipe, [chosen])
    return chosen


def _check_tasks(recipe: Recipe, tasks: list[str]) -> None:
    for name in tasks:
        if name not in recipe.tasks:
            known = ", ".join(recipe.tasks)
            raise _wrong_task(f"received {name!r}{did_you_mean(name, recipe.tasks)}; expected one of {known}")


def _wrong_task(sentence: str) -> typer.BadParameter:
    return typer.BadParameter(sentence, param_hint="--task")
