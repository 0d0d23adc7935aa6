"""Validate: read every source, set unsound rows aside with the reason, and stop on data that must not be trained on.

Order per source: rows that cannot be read; ids and row-level checks; then, of the sound rows together, counts, texts
and each task's labels. The rows stream by once, so memory stays bounded whatever the size of a source. Everything is
written before a critical failure is raised, so that the page and the quarantine file are there to look at. Great
Expectations does the judging; with a small source its import is most of the step's time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Recipe
from pipeline.data.quality.expectations import Inspector, Outcome
from pipeline.data.quality.own import own_checks
from pipeline.data.quality.pages import data_docs
from pipeline.data.quality.survey import Survey, coalesced
from pipeline.data.sources import read_source
from pipeline.errors import RecipeError, ValidationFailed
from pipeline.progress import Progress

Statistics = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ValidateResult:
    """Counts of rows (all, kept, quarantined; `sources`: the same by source), of checks, and what was warned of."""

    rows: int
    kept: int
    quarantined: int
    sources: dict[str, dict[str, int]]
    checks: int
    warnings: list[str]


def validate(recipe: Recipe, out: Path, progress: Progress) -> ValidateResult:
    """Check the recipe's sources; write the sound rows, the quarantine, statistics, checks and pages to `out`.

    Files: rows/<source>/00000.parquet and so on (see `pipeline.data.rows`), quarantine.jsonl, statistics.json,
    checks.json, data_docs/index.html, data_docs/statistics.html, reference/ (what `drift` compares with later).

    Raises:
        SourceError: a source is missing, empty or unreadable, or lacks a column that the recipe names.
        RecipeError: an expectation of the recipe does not exist, does not fit its arguments, or broke down.
        ValidationFailed: a critical check failed.
    """
    # A killed run may have left half of its rows.
    for folder in ("rows", "scratch"):
        shutil.rmtree(out / folder, ignore_errors=True)
    inspector = Inspector()
    statistics = _survey(recipe, out, inspector, progress)
    shutil.rmtree(out / "scratch")
    _write_json(out / "statistics.json", {"sources": statistics})
    _write_json(out / "checks.json", [_entry(outcome) for outcome in inspector.outcomes])
    data_docs.write(out / "data_docs", inspector.pages, inspector.outcomes, statistics)
    _report(statistics, inspector.outcomes, progress)
    _stop_on_failure(out, inspector.outcomes)
    return _result(statistics, inspector.outcomes)


def _survey(recipe: Recipe, out: Path, inspector: Inspector, progress: Progress) -> dict[str, dict[str, Any]]:
    """Let the rows of every source pass; return the statistics of each."""
    checks, sources = recipe.data.checks, recipe.data.sources
    columns = {name: checks.columns.get(name, {}) for name in sources}
    own = {name: own_checks(name, checks.expectations.get(name, []), columns[name]) for name in sources}
    statistics = {}
    with (out / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine:
        for position, (name, source) in enumerate(sources.items(), start=1):
            tasks = {task: its.data for task, its in recipe.tasks.items() if its.data.source == name}
            survey = Survey(name, source, tasks, own[name], checks, inspector, out)
            for table in coalesced(read_source(name, source)):
                survey.add(table, quarantine)
                progress.update(position - 1, len(sources), rows=survey.rows)
            statistics[name] = survey.close()
            progress.update(position, len(sources), rows=survey.rows)
    return statistics


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _entry(outcome: Outcome) -> dict[str, Any]:
    check = outcome.check
    entry = {
        "source": outcome.subject,
        "name": check.name,
        "severity": check.severity,
        "success": outcome.success,
        "observed": outcome.observed,
        "expected": check.expected,
    }
    return entry | ({"error": outcome.error} if outcome.error else {})


def _report(statistics: Statistics, outcomes: list[Outcome], progress: Progress) -> None:
    for name, figures in statistics.items():
        total, aside = figures["rows"], figures["quarantined"]
        if aside:
            why = ", ".join(f"{count:,} {reason}" for reason, count in figures["quarantined_by_reason"].items())
            progress.say(
                f"{name}: {aside:,} of {total:,} rows quarantined ({why}): quarantine.jsonl in the artifact of validate"
            )
            progress.say(f"{name}: the first of them: {', '.join(figures['quarantined_examples'])}")
        else:
            progress.say(f"{name}: {total:,} rows, none quarantined")
    for outcome in outcomes:
        if outcome.check.severity == "warning" and outcome.success is False:
            progress.say(f"warning: {_sentence(outcome)}")


def _stop_on_failure(out: Path, outcomes: list[Outcome]) -> None:
    where = f"Page: {out}/data_docs/index.html. Quarantined rows: {out}/quarantine.jsonl"
    if broken := [outcome for outcome in outcomes if outcome.success is None]:
        sentences = "".join(f"\n- {_sentence(outcome)}" for outcome in broken)
        message = f"{_count(broken)} broke down, which says nothing about the data:{sentences}\n{where}"
        if all(outcome.check.own for outcome in broken):
            raise RecipeError(message)
        raise RuntimeError(message)
    if failed := [outcome for outcome in outcomes if outcome.check.severity == "critical" and not outcome.success]:
        sentences = "".join(f"\n- {_sentence(outcome)}" for outcome in failed)
        raise ValidationFailed(f"{_count(failed, 'critical ')} failed:{sentences}\n{where}")


def _count(outcomes: list[Outcome], kind: str = "") -> str:
    return f"{len(outcomes)} {kind}check{'s' if len(outcomes) > 1 else ''}"


def _sentence(outcome: Outcome) -> str:
    check = outcome.check
    found = f"broke down with: {outcome.error}" if outcome.error else f"observed {outcome.observed}"
    fix = f". Fix: {check.fix}" if check.fix else ""
    return f"{outcome.subject}, {check.name}: {found}, expected {check.expected}{fix}"


def _result(statistics: Statistics, outcomes: list[Outcome]) -> ValidateResult:
    counts = ("rows", "kept", "quarantined")
    sources = {name: {key: figures[key] for key in counts} for name, figures in statistics.items()}
    totals = {key: sum(found[key] for found in sources.values()) for key in counts}
    warnings = [_sentence(o) for o in outcomes if o.check.severity == "warning" and o.success is False]
    return ValidateResult(**totals, sources=sources, checks=len(outcomes), warnings=warnings)
