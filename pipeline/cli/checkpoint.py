"""`tradewind export-checkpoint`: the weights of a training that is still under way, or was given up, as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("export-checkpoint")(export_checkpoint)


def export_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of a checkpoint: workspace/partial/pretrain/FINGERPRINT/checkpoints/step-...")
    ],
    out: Annotated[Path, typer.Argument(help="New folder for backbone.weights.h5, backbone.json and tokenizer.json.")],
) -> None:
    """Write the backbone of a pretraining's checkpoint as one file, however many processes wrote the checkpoint.

    Where the recipe keeps averaged weights it is those. Another recipe starts from the folder with pretrain.start_from.

    Example: tradewind export-checkpoint workspace/partial/pretrain/4f.../checkpoints/step-00000100 early
    """
    from pipeline.backend import select_backend

    select_backend("auto")
    from pipeline.training.export import export_backbone

    step = export_backbone(checkpoint, out)
    typer.echo(f"the backbone after {step:,} updates is in {out}")
