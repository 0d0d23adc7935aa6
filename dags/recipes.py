"""One DAG for each recipe in the folder of recipes (TRADEWIND_RECIPES, else `configs/`), made anew at each parse.

    start -> validate -> drift -> preprocess -> pretrain -> [ finetune -> evaluate -> gate -> publish ] -> finish
                                                   [ baseline -------------> gate            ]
                                                   [ finetune -> scratch --> gate            ]  where gate.scratch asks
                                                       once per task of the recipe

A recipe with `publish.approval` has `approve` between `gate` and `publish`. A recipe with a search has its rounds
before `finetune`, each `propose -> trial`, once per trial. A recipe with a section `monitor` has a second DAG.

Nothing heavy is imported here: a parse takes a fraction of a second, and happens every half minute.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, TaskGroup, TriggerRule, task, task_group
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException

import recipe_tasks as tasks
from pipeline.cluster.ray.launcher import address_of
from pipeline.config import Recipe
from pipeline.errors import RecipeError
from pipeline.recipes import list_recipes, load_recipe
from recipe_approval import approve
from recipe_form import form
from recipe_limits import deadlines, default_args, limit_steps
from recipe_monitor import monitor_dag
from recipe_notify import notifiers
from recipe_run import has_scratch, settings
from recipe_schedule import first_day, schedule_of

BROKEN = "broken recipe"
NO_BREAK = "\u00a0"


def build() -> dict[str, DAG]:
    """Return the DAGs of all recipes by name; a recipe that cannot be run gets a DAG that says why."""
    dags: dict[str, DAG] = {}
    errors: dict[Path, str] = {}
    for file in list_recipes(settings().recipes):
        try:
            recipe = load_recipe(file)
            if recipe.name in dags:
                raise RecipeError(f"{file}: name: another recipe is called {recipe.name!r} too; expected a new name")
            made = {recipe.name: recipe_dag(file, recipe)}
            if recipe.monitor is not None:
                made |= {(watching := monitor_dag(file, recipe)).dag_id: watching}
        except Exception as error:  # belongs to one recipe, and is shown in its DAG
            errors[file] = str(error)
        else:
            dags |= made
    for file, text in errors.items():
        name = _free_name(file, dags)
        dags[name] = broken_dag(name, text)
    return dags


def recipe_dag(file: Path, recipe: Recipe) -> DAG:
    """Return the DAG that runs a recipe."""
    how = recipe.airflow
    with DAG(
        recipe.name,
        description=recipe.description or None,
        schedule=schedule_of(recipe),
        start_date=first_day(recipe),
        catchup=how.catchup,
        deadline=deadlines(recipe),
        auto_register=False,
        max_active_runs=1,
        tags=set(how.tags),
        doc_md=f"{recipe.description}\n\nThe recipe, `{file.name}`:\n\n{_lines(file.read_text(encoding='utf-8'))}",
        default_args=default_args(how),
    ) as dag:
        _lay_tasks(file, recipe)
    limit_steps(dag, recipe)
    dag.params = ParamsDict(form(recipe))  # not before: each task would copy it four times, half of the parse
    dag.validate()  # else Airflow does it, and blames all DAGs of this file
    return dag


def _lay_tasks(file: Path, recipe: Recipe) -> None:
    """Lay the tasks of a recipe into the DAG that is being made."""
    started = tasks.start(str(file))
    preprocessed, pretrained = tasks.preprocess(), tasks.pretrain()
    explored = _lay_rounds(recipe, started, pretrained)
    # The trials of a search whose best is known already are skipped.
    follows = TriggerRule.ALL_SUCCESS if explored is pretrained else TriggerRule.NONE_FAILED

    @task_group(tooltip="One model for each task of the recipe: trained, judged and, if it proves itself, published")
    def model(name: str) -> None:
        tuned, linear, judged = tasks.finetune(name, follows), tasks.baseline(name), tasks.gate(name)
        explored >> tuned >> tasks.evaluate(name) >> judged
        preprocessed >> linear >> judged
        if has_scratch(recipe):
            tuned >> tasks.scratch(name) >> judged  # after it, for either takes all cores
        published = tasks.publish(name, judged)
        if recipe.publish.approval:
            judged >> approve(name, notifiers(recipe, "approval")) >> published

    started >> tasks.validate() >> tasks.drift() >> preprocessed >> pretrained
    finished = tasks.finish.override(
        on_failure_callback=notifiers(recipe, "failure"), on_success_callback=notifiers(recipe, "success")
    )
    model.expand(name=started) >> finished()


def _lay_rounds(recipe: Recipe, started: Any, pretrained: Any) -> Any:
    """Lay the rounds of the recipe's searches one after the other; return what fine-tuning waits for."""
    searches = [task.finetune.search for task in recipe.tasks.values() if task.finetune.search]
    on_a_cluster = recipe.runtime.launcher == "ray" and bool(address_of(recipe.runtime))
    explored = pretrained
    for number in range(1, max((search.rounds for search in searches), default=0) + 1):
        with TaskGroup(f"round_{number}", tooltip="Trials that are proposed together"):
            proposed = tasks.propose(started, number)
            at_once = max(search.parallel for search in searches) if on_a_cluster else 1
            tried = tasks.trial(proposed, at_once)
        explored >> proposed
        explored = tried
    return explored


def broken_dag(name: str, error: str) -> DAG:
    """Return the DAG that stands for a recipe which cannot be run.

    Raising the error instead would take away the DAGs of all recipes: to Airflow, a file is whole or broken.
    """

    @task(retries=0)
    def explain() -> None:
        """Say what is wrong with the recipe."""
        raise AirflowFailException(error)

    with DAG(
        name,
        dag_display_name=f"{name} ({BROKEN})",
        description=error.splitlines()[0],
        schedule=None,
        auto_register=False,
        tags={BROKEN},
        doc_md=f"This recipe cannot be run:\n\n{_lines(error)}\n\nA repaired file shows within a minute.",
    ) as dag:
        explain()
    return dag


def _free_name(file: Path, dags: dict[str, DAG]) -> str:
    """Return the file's name as that of a DAG: so the history of a recipe that was sound before stays with it."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", file.stem)
    while name in dags:
        name += "-broken"
    return name


def _lines(text: str) -> str:
    """Return Markdown that shows text line by line: Airflow's page folds the lines of a code block into one."""
    return "  \n".join(_line(line.rstrip()) for line in text.rstrip().splitlines())


def _line(text: str) -> str:
    """Return a line as code; spaces that a page would fold do not break."""
    if not text:
        return NO_BREAK
    fence = "`" * (1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    code = re.sub("^ +|  +", lambda spaces: NO_BREAK * len(spaces[0]), text)
    return f"{fence} {code} {fence}" if "`" in text else f"{fence}{code}{fence}"


globals().update(build())  # where Airflow looks for DAGs
