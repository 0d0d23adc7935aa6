"""`tradewind plan`: what a recipe's pretraining takes on devices that are not here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.recipe import Overrides, RecipeFile

if TYPE_CHECKING:
    from pipeline.config import Recipe
    from pipeline.planning.corpus import Corpus


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("plan")(plan)


def plan(
    recipe: RecipeFile,
    devices: Annotated[
        str,
        typer.Option(metavar="DEVICES", help="On what: 8xH100, 2x8xH100 (hosts x devices), H100, or 4xcpu."),
    ],
    mesh: Annotated[
        str | None,
        typer.Option(
            metavar="AXES",
            help="How the devices are used, such as data=4,fsdp=2; -1 takes the rest. Default: runtime.mesh.",
        ),
    ] = None,
    fsdp_gather: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="When weights are gathered over fsdp: once per update, or per micro_batch.",
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="Tokens of the corpus, such as 1.5B, where no run has preprocessed it yet."
        ),
    ] = None,
    price: Annotated[float | None, typer.Option(min=0.0, help="Price of one device for one hour.")] = None,
    efficiency: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, help="Share of the peak that compute reaches. Default: .4, of a processor .5."),
    ] = None,
    usable: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=1.0, help="Share of a device's memory that training may take. Default: of a GPU .75."
        ),
    ] = None,
    peak: Annotated[
        float | None, typer.Option(min=1e-6, help="TFLOP/s of one device, where you know it better; a cpu needs it.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(min=1e-6, help="GiB of one device, where you know it better; a cpu needs it.")
    ] = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(min=1e-6, help="GB/s that one device sends to the others, where you know it better."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
    overrides: Overrides = None,
) -> None:
    """Plan a pretraining: memory, communication, time and cost on devices that need not be here.

    No data are read, and nothing is computed but arithmetic; what had to be assumed is listed. The length of the
    training comes from pretrain.steps, from a run that has preprocessed the same data, or from --tokens; without any of
    them it is taken to be 20 tokens for each parameter.

    Example: tradewind plan configs/icd10.yaml --devices 8xH100 --mesh data=4,fsdp=2 --price 2.5
    """
    from pipeline.mesh import read_mesh
    from pipeline.planning.devices import Measured, read_devices
    from pipeline.planning.plan import Wishes, make_plan
    from pipeline.recipes import load_recipe

    cluster = read_devices(devices, Measured(peak, memory, bandwidth))
    found = load_recipe(recipe, overrides or [])
    axes = read_mesh(mesh) if mesh else found.runtime.mesh.model_dump()
    wishes = Wishes(axes, fsdp_gather or found.runtime.fsdp_gather, usable, efficiency, price)
    made = make_plan(found, cluster, wishes, _corpus(found, tokens))
    if as_json:
        typer.echo(json.dumps(made.as_dict(), indent=2))
    else:
        from pipeline.cli.plan_tables import print_plan

        print_plan(found.name, made)


def _corpus(recipe: Recipe, tokens: str | None) -> Corpus | None:
    from pipeline.config import Settings
    from pipeline.planning.corpus import find_corpus, read_tokens, told_corpus

    if tokens is not None:
        return told_corpus(read_tokens(tokens), recipe.preprocess.sequence_length)
    return find_corpus(recipe, Settings().workspace)
