"""`tradewind models push | verify | sign | merge`: the files of published models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config import Settings
from pipeline.registry import Registry, Version

Model = Annotated[str, typer.Argument(metavar="MODEL[@ALIAS|:VERSION]", help="Default alias: champion.")]


def register(app: typer.Typer) -> None:
    """Add the commands to those of `tradewind models`."""
    for command in (push, verify, sign, merge):
        app.command(command.__name__)(command)


def registry_here() -> Registry:
    """Return the registry that the settings name."""
    return Registry.for_workspace(Settings())


def find_version(registry: Registry, model: str) -> Version:
    """Return the version that a person names."""
    from pipeline.predict import find_model

    return find_model(registry, model, "tradewind models")


def verify(
    model: Model,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="PATH", help="Public key (PEM); default: what TRADEWIND_VERIFY_KEY names."),
    ] = None,
) -> None:
    """Compare every file of a version with its manifest, and check its signature where there is a key to check with."""
    registry = registry_here()
    version = find_version(registry, model)
    keys = replace(registry.keys, verify=key) if key else registry.keys
    replace(version, keys=keys).checked_bundle()
    name, files = f"{version.name} version {version.version}", sum(each.is_file() for each in version.bundle.rglob("*"))
    if not version.sealed:
        typer.echo(f"{name} was registered without a manifest; run its recipe again, and it gets one")
        raise typer.Exit(1)
    signature = "not signed"
    if version.signed:
        signature = (
            f"signed, and the signature fits {keys.verify}" if keys.verify else "signed, by whom was not checked"
        )
    typer.echo(f"{name}: {files} files are those that were registered; {signature}")


def push(
    model: Model,
    url: Annotated[str, typer.Argument(metavar="URL", help="file:///..., s3://..., gs://..., hf://..., kaggle://...")],
) -> None:
    """Bring a version to a folder, a bucket, the Hugging Face Hub or Kaggle; what is there already stays as it is."""
    from pipeline.delivery import deliver

    registry = registry_here()
    made = deliver(registry, find_version(registry, model), url)
    typer.echo(f"version {made.version} is at {made.place} (brought by {made.who}, {made.when[:16]} UTC)")


def merge(
    adapters: Annotated[Path, typer.Argument(metavar="ADAPTERS", help="The `adapters` folder of an export.")],
    backbone: Annotated[Path, typer.Option("--backbone", metavar="FOLDER", help="The artifact of `pretrain`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Receives the whole bundle; a new folder.")],
) -> None:
    """Put published adapters on the backbone that they were trained on, and write the whole model."""
    from pipeline.backend import select_backend

    if out.exists():
        raise typer.BadParameter(f"{out} is there already; name a new folder", param_hint="--out")
    select_backend("auto")
    from pipeline.publishing.adapters import rebuild_bundle

    rebuild_bundle(adapters, backbone, out)
    typer.echo(f"{out} holds the whole model")


def sign(model: Model) -> None:
    """Sign a version that was registered without a key, with the one that TRADEWIND_SIGNING_KEY names."""
    registry = registry_here()
    version = find_version(registry, model)
    registry.sign(version)
    typer.echo(f"{version.name} version {version.version} is signed")
