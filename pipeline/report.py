"""One page per run, rendered from what the steps wrote: readable offline, in light and dark, on a phone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.judge import judged, sections
from pipeline.judge.names import opponent, spoken

logger = logging.getLogger("tradewind")

PAGE = "index.html"


def render(run: dict[str, Any], artifacts: dict[str, Path], out: Path) -> Path:
    """Write out/index.html, one file without external requests, and return its path.

    Args:
        run: the record of runs/<run_id>.json: run_id, recipe, recipe_name, created, trigger, nodes, outcome.
        artifacts: node -> artifact folder, such as "validate" or "gate[chapter]"; what a run did not reach is absent.
        out: folder of the page; made when it does not exist. Links to the data pages are relative to it.

    A section that cannot be rendered shows its error in its place and logs it; the others still render.

    """
    out.mkdir(parents=True, exist_ok=True)
    templates = environment()
    parts: list[tuple[str, str, Callable[[], dict[str, Any]]]] = [
        ("Overview", "overview", lambda: sections.overview(run, artifacts)),
        ("Data", "data", lambda: sections.data(run, artifacts, out)),
        ("Pretraining", "pretraining", lambda: sections.pretraining(run, artifacts)),
    ]
    rendered = [(title, section(templates, title, name, collect)) for title, name, collect in parts]
    rendered += [(f"Task {task}", task_section(templates, run, artifacts, task)) for task in run["recipe"]["tasks"]]
    rendered.append(("Lineage", section(templates, "Lineage", "lineage", lambda: sections.lineage(run))))
    path = out / PAGE
    path.write_text(templates.get_template("page.html.j2").render(run=run, sections=rendered), encoding="utf-8")
    return path


def task_section(templates: Environment, run: dict[str, Any], artifacts: dict[str, Path], task: str) -> Markup:
    """Return the section of a task: its parts one below the other, each with its own error when it fails."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {"task": partial(judged.verdict, run, artifacts, task)}
    if f"evaluate[{task}]" in artifacts:
        parts["details"] = partial(judged.details, artifacts, task)
        if run["recipe"]["tasks"][task]["data"].get("kind", "classification") == "classification":
            parts["calibration"] = partial(judged.calibration, artifacts, task)
    if f"gate[{task}]" in artifacts:
        parts["slices"] = partial(judged.slices, artifacts, task)
    if f"evaluate[{task}]" in artifacts:
        parts["errors"] = partial(judged.errors, artifacts, task)
    parts["training"] = partial(judged.training, run, artifacts, task)
    return Markup("").join(section(templates, f"Task {task}, {name}", name, collect) for name, collect in parts.items())


def section(templates: Environment, title: str, name: str, collect: Callable[[], dict[str, Any]]) -> Markup:
    """Return the section as HTML; its error in words when it fails, because a report must not fail a run."""
    try:
        text = templates.get_template(f"{name}.html.j2").render(collect())
    except Exception as error:  # whatever broke belongs on the page and into the log
        logger.exception("report: section %s could not be rendered", title)
        text = templates.get_template("broken.html.j2").render(error=f"{type(error).__name__}: {error}")
    return Markup(text)  # noqa: S704  escaped by the template that made it


def environment() -> Environment:
    """Return the templates: autoescaped, and an unknown name is an error."""
    templates = Environment(
        loader=PackageLoader("pipeline.judge", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["metric"] = spoken
    templates.filters["opponent"] = opponent
    templates.filters["duration"] = duration
    templates.filters["moment"] = lambda text: str(text)[:19].replace("T", " ")
    return templates


def duration(seconds: float) -> str:
    """Return 3 s, 4 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
