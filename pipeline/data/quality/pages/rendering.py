"""The pages on the data that are ours: one stylesheet, no script, nothing that is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pipeline.data.quality.pages import pictures

MACROS = "pictures.html.jinja"
OF_ROWS = "How far the rows moved from those that each task's champion was trained on."
SIDES = ("champion", "now")
WORDS = 25


def stylesheet() -> str:
    """Return the stylesheet that every page has inside."""
    return files(__package__).joinpath("data_docs.css").read_text("utf-8")


def render(template: str, **values: Any) -> str:
    """Return a template of this folder as HTML; text in `values` is escaped."""
    from jinja2 import Environment, FunctionLoader

    loader = FunctionLoader(lambda name: files(__package__).joinpath(name).read_text("utf-8"))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
    return environment.get_template(template).render(style=stylesheet(), macros=MACROS, **values)


def statistics_page(sources: Mapping[str, Any]) -> str:
    """Return the page with pictures of every source and task, from the values of statistics.json."""
    drawn = []
    for name, figures in sources.items():
        tasks = [
            {"name": task, "figures": its, "labels": pictures.bars([its["shares"]], 30, share=True)}
            for task, its in figures["tasks"].items()
        ]
        drawn.append(
            {
                "name": name,
                "figures": figures,
                "lengths": pictures.histogram(figures["length_ranges"]),
                "words": pictures.bars([dict(list(figures["vocabulary"]["top_words"].items())[:WORDS])], WORDS),
                "reasons": pictures.bars([figures["quarantined_by_reason"]], 15),
                "tasks": tasks,
            }
        )
    return render("statistics.html.jinja", sources=drawn)


def drift_page(values: Mapping[str, Any], title: str = "Drift", told: str = OF_ROWS) -> str:
    """Return the page on drift, from the values of drift.json, under a title and what is compared."""
    tasks = [
        {
            **task,
            "label_bars": pictures.bars([pictures.shares(task["labels"][side]) for side in SIDES], 20, share=True),
            "length_curve": pictures.length_curves({side: task["lengths"][side] for side in SIDES}),
        }
        for task in values["tasks"]
    ]
    without, settings = values["without_champion"], values["settings"]
    return render("drift.html.jinja", title=title, told=told, tasks=tasks, without=without, settings=settings)
