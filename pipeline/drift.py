"""Drift: how far the rows moved from those that each task's champion was trained on.

A comparison that cannot be made is an error, never a pass. Only without a champion, or with
`data.drift.reference: off`, is there nothing to compare, which is said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Drift, Recipe
from pipeline.data.quality.drift.metrics import Metric, answer_metric, described, require_enough, text_metrics
from pipeline.data.quality.drift.reference import Reference, load
from pipeline.data.quality.pages.rendering import drift_page
from pipeline.errors import ValidationFailed
from pipeline.progress import Progress


@dataclass(frozen=True)
class DriftResult:
    """The metrics of each compared task by name, the tasks without a champion, and what was warned of."""

    tasks: dict[str, dict[str, float]]
    without_champion: list[str]
    warnings: list[str]


def drift(recipe: Recipe, rows: Path, reference: Path | None, out: Path, progress: Progress) -> DriftResult:
    """Compare the rows with those of the champions; write drift.json and drift.html to `out`.

    Args:
        recipe: the recipe; `data.drift` says how far rows may move.
        rows: the artifact of `validate`.
        reference: a folder with, for each task that has a champion, a folder `<task>` that holds the `reference/` which
            was published with it; None when no task has one.
        out: where to write.
        progress: told what moved.

    Raises:
        DriftError: a reference is missing or damaged, or there are too few rows to compare.
        ValidationFailed: rows moved too far, and `data.drift.severity` is critical.
    """
    settings = recipe.data.drift
    champions = [task for task in recipe.tasks if reference is not None and (reference / task).is_dir()]
    without = [task for task in recipe.tasks if task not in champions]
    compared: dict[str, tuple[Reference, Reference, list[Metric]]] = {}
    if settings.reference == "off":
        progress.say("drift is not looked at: data.drift.reference is off")
    else:
        if without:
            progress.say(f"no champion yet, so nothing to compare with: {', '.join(without)}")
        for position, task in enumerate(champions, start=1):
            assert reference is not None
            compared[task] = _compare(task, load(reference / task, task), load(rows / "reference", task), settings)
            progress.update(position, len(champions))
    _write(out, compared, without, settings)
    breaches = [f"task {task}, {metric.sentence}" for task, metric in _breaches(compared)]
    for breach in breaches if settings.severity == "warning" else ():
        progress.say(f"warning: {breach}")
    if breaches and settings.severity == "critical":
        listed = "".join(f"\n- {breach}" for breach in breaches)
        raise ValidationFailed(
            f"the rows drifted from the champion's:{listed}\nFix: look at {out}/drift.html; if the change is meant, "
            "set data.drift.severity to warning, or raise the limit"
        )
    figures = {
        task: {metric.name: round(metric.value, 6) for metric in found} for task, (*_, found) in compared.items()
    }
    return DriftResult(figures, without, breaches)


def _compare(
    task: str, before: Reference, now: Reference, settings: Drift
) -> tuple[Reference, Reference, list[Metric]]:
    remedy = "Add rows, or set data.drift.reference to off"
    require_enough(task, "the champion's rows have", before, remedy)
    require_enough(task, "the rows have", now, remedy)
    return before, now, [answer_metric(before, now, settings), *text_metrics(before, now, settings)]


def _breaches(compared: dict[str, tuple[Reference, Reference, list[Metric]]]) -> list[tuple[str, Metric]]:
    return [(task, metric) for task, (*_, found) in compared.items() for metric in found if not metric.passed]


def _write(
    out: Path, compared: dict[str, tuple[Reference, Reference, list[Metric]]], without: list[str], settings: Drift
) -> None:
    tasks = [described(task, *comparison) for task, comparison in compared.items()]
    values: dict[str, Any] = {"settings": settings.model_dump(), "tasks": tasks, "without_champion": without}
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "drift.json").write_text(text + "\n", encoding="utf-8")
    (out / "drift.html").write_text(drift_page(values), encoding="utf-8")
