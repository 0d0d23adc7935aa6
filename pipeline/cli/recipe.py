"""`tradewind recipe schema | show | check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline import recipes
from pipeline.config import Recipe, Settings
from pipeline.dates import Dates, read_dates
from pipeline.presets.folder import is_address
from pipeline.start import find_start
from pipeline.store import Store

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, such as configs/icd10.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Override one value of the recipe by its dotted name, such as pretrain.steps=200. Repeatable.",
    ),
]
RunDate = Annotated[
    str | None,
    typer.Option(
        "--date",
        metavar="DAY|START/END",
        help="Date of the run in UTC, for sources that read {{ ds }}: 2026-11-01, 2026-11-01T03:00, or "
        "2026-11-01/2026-11-08. Airflow gives the same for its logical date.",
    ),
]


def dates_of_run(date: str | None, recipe: Recipe) -> Dates | None:
    """Return the dates that `--date` means for a recipe. Raises RecipeError: it is no date."""
    return read_dates(date, recipe.airflow.schedule) if date is not None else None


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(no_args_is_help=True)
    group.command("schema")(schema)
    group.command("show")(show)
    group.command("check")(check)
    app.add_typer(group, name="recipe", help="Look into recipes: what may stand in one, and whether yours is sound.")


def schema() -> None:
    """Print the JSON schema of a recipe: every key, its type and bounds, its default, and what it does.

    Editors can use it to complete and check recipes while you type.
    """
    typer.echo(json.dumps(recipes.recipe_schema(), indent=2))


def show(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Print the recipe as YAML with every value, the defaults included."""
    typer.echo(recipes.show(recipes.load_recipe(recipe, overrides or [])), nl=False)


def check(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Check the recipe without running it: every wrong key, what it received, and what is allowed.

    A backbone that it starts from is looked for too, unless that would take the network.
    """
    found = recipes.load_recipe(recipe, overrides or [])
    if not is_address(found.pretrain.start_from or ""):
        find_start(found, Store(Settings().workspace))
    typer.echo(f"{recipe}: sound. Sources: {', '.join(found.data.sources)}. Tasks: {', '.join(found.tasks)}.")
