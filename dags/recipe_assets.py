"""What a run tells the runs of other recipes: that a backbone or a champion is another than before.

Each is an asset of Airflow, and its events say which artifact and which version it is now. An event is added to an
alias: an outlet would tell of every run, those that changed nothing too, and recipes that follow each other would run
for ever.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias, get_current_context

from pipeline.flow import Flow
from pipeline.outcome import read_metrics
from pipeline.registry import Version
from pipeline.steps import node_name
from pipeline.store import Artifact
from recipe_notify import tell
from recipe_run import LogDisplay, current_flow, errors_decide_on_retries

logger = logging.getLogger("tradewind")

BACKBONES = AssetAlias("tradewind-backbones")
MODELS = AssetAlias("tradewind-models")


def backbone_asset(recipe: str) -> Asset:
    """Return what is refreshed whenever a recipe has trained another backbone."""
    return Asset(f"tradewind://backbones/{recipe}")


def model_asset(name: str) -> Asset:
    """Return what is refreshed whenever a registered model has another champion."""
    return Asset(f"tradewind://models/{quote(name)}")


def tell_of_backbone(artifact: Artifact) -> None:
    """Refresh the asset of the recipe's backbone, unless it was kept from an earlier run."""
    flow = current_flow()
    if not artifact.hit or _may_have_been_cut_off():
        facts = {"reference": artifact.reference, "run": flow.run_id, "recipe": flow.recipe.name}
        _refresh(BACKBONES, backbone_asset(flow.recipe.name), facts)


def publish_model(task: str) -> tuple[Version, dict[str, Any]]:
    """Make a candidate the champion; when it is another than before, refresh its asset and tell people.

    Returns:
        The version, and what is said of it.
    """
    with errors_decide_on_retries():
        flow = current_flow()
        before = flow.registry.champion(flow.model_name(task))
        version = flow.publish(task, LogDisplay())
    facts = {"reference": version.tags["publish"], "model": version.name, "version": str(version.version)}
    changed = before is None or before.version != version.version
    if version.withdrawn is None and (changed or _may_have_been_cut_off()):
        more = {"run": flow.run_id, "recipe": flow.recipe.name, "task": task, "metrics": _metrics(flow, task)}
        _refresh(MODELS, model_asset(version.name), facts | more)
        tell(flow.recipe, "published", published=facts)
    return version, facts


def _may_have_been_cut_off() -> bool:
    """Return whether a try before this one may have changed something, and died before it could tell."""
    return get_current_context()["ti"].try_number > 1


def _refresh(alias: AssetAlias, asset: Asset, facts: dict[str, Any]) -> None:
    get_current_context()["outlet_events"][alias].add(asset, extra=facts)
    logger.info("refreshed: %s", asset.uri)


def _metrics(flow: Flow, task: str) -> dict[str, float]:
    entry = flow.store.runs.load(flow.run_id)["nodes"][node_name("evaluate", task)]
    metrics = read_metrics(flow.store.get(entry["reference"]).path)
    return {name: value for name, value in metrics.items() if isinstance(value, float)}
