"""The model card: what a user must know of a model, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = "model_card.md.j2"


def model_card(
    name: str,
    recipe: Mapping[str, Any],
    task: str,
    metrics: Mapping[str, Any],
    gate: Mapping[str, Any],
    proof: Mapping[str, Any],
) -> str:
    """Return the card.

    Args:
        name: the model's, in the registry.
        recipe: as it was written.
        task: name of the task.
        metrics: of `evaluate`.
        gate: the verdict, of `gate`, and why it was overruled if so.
        proof: what the reload proof found.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, not HTML
    )
    return environment.get_template(CARD).render(
        name=name, recipe=recipe, task=task, goal=recipe["tasks"][task], metrics=metrics, gate=gate, proof=proof
    )
