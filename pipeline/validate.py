"""Validate: read every source, set unsound rows aside with the reason, and stop on data that must not be trained on.

Order per source: rows that cannot be read; row-level checks; share of quarantined rows; checks on the sound rows
together; then each task's labels. Everything is written before a critical failure is raised, so that the page and the
quarantine file are there to look at. Great Expectations does the checking; its import is most of the step's time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Checks, Recipe, TaskData
from pipeline.data import checks as builtin
from pipeline.data import data_docs, expectations, statistics
from pipeline.data.checks import Check
from pipeline.data.expectations import Inspector, Outcome
from pipeline.data.sources import read_source, require_columns
from pipeline.errors import RecipeError, SourceError, ValidationFailed
from pipeline.progress import Progress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ValidateResult:
    """Counts of rows (all, kept, quarantined; `sources`: the same by source), of checks, and what was warned of."""

    rows: int
    kept: int
    quarantined: int
    sources: dict[str, dict[str, int]]
    checks: int
    warnings: list[str]


@dataclass(frozen=True)
class _Survey:
    """A source after its checks: `reasons` tells by row id why a row was set aside."""

    rows: pd.DataFrame
    kept: pd.DataFrame
    reasons: dict[str, list[str]]
    statistics: dict[str, Any]


def validate(recipe: Recipe, out: Path, progress: Progress) -> ValidateResult:
    """Check the recipe's sources; write the sound rows, the quarantine, statistics, checks and pages to `out`.

    Files: rows/<source>.parquet (`row_id`, `text`, `group`, and every other column, as strings), quarantine.jsonl,
    statistics.json, checks.json, data_docs/index.html.

    Raises:
        SourceError: a source is missing, empty or unreadable, or lacks a column that the recipe names.
        RecipeError: an expectation of the recipe does not exist, does not fit its arguments, or broke down.
        ValidationFailed: a critical check failed.
    """
    inspector = Inspector()
    checks = recipe.data.checks
    own = {name: expectations.own_checks(name, checks.expectations.get(name, [])) for name in recipe.data.sources}
    tasks = {name: task.data for name, task in recipe.tasks.items()}
    import pyarrow as pa

    surveys = {}
    for position, (name, source) in enumerate(recipe.data.sources.items(), start=1):
        rows = pa.concat_tables(read_source(name, source), promote_options="default").to_pandas()
        its_tasks = {task: data for task, data in tasks.items() if data.source == name}
        surveys[name] = _survey(name, rows, its_tasks, own[name], checks, inspector)
        progress.update(position, len(recipe.data.sources), rows=len(rows))
    _write(out, surveys, inspector)
    _report(out, surveys, inspector.outcomes, progress)
    _stop_on_failure(out, inspector.outcomes)
    return _result(surveys, inspector.outcomes)


def _survey(
    name: str,
    rows: pd.DataFrame,
    tasks: Mapping[str, TaskData],
    own: list[Check],
    checks: Checks,
    inspector: Inspector,
) -> _Survey:
    columns = [column for column in rows.columns if column not in ("row_id", "fault")]
    expectations.require_known_columns(name, own, columns)
    for task, data in tasks.items():
        _require_task_columns(name, rows, task, data)
    reasons = _unsound(name, rows, tasks, checks, inspector)
    reason = rows["row_id"].map({row_id: "; ".join(why) for row_id, why in reasons.items()})
    shares = rows[["row_id"]].assign(reason=reason.astype(rows["row_id"].dtype))
    inspector.run(name, "quarantine", shares, builtin.quarantine_checks(name, checks))
    kept = rows[shares["reason"].isna()].drop(columns="fault").reset_index(drop=True)
    inspector.run(name, "sound rows", kept, [*builtin.table_checks(checks), *own])
    figures = statistics.source_statistics(kept, reasons, len(rows))
    figures["tasks"] = {task: _inspect_task(task, kept, data, checks, inspector) for task, data in tasks.items()}
    return _Survey(rows, kept, reasons, figures)


def _unsound(
    name: str, rows: pd.DataFrame, tasks: Mapping[str, TaskData], checks: Checks, inspector: Inspector
) -> dict[str, list[str]]:
    """Return the reasons against every unsound row, by row id, in the order of the rows."""
    faulty = rows[rows["fault"].notna()]
    reasons = {row_id: [fault] for row_id, fault in zip(faulty["row_id"], faulty["fault"], strict=True)}
    readable = rows[rows["fault"].isna()]
    outcomes = inspector.run(name, "every row", readable[["row_id", "text"]], builtin.row_checks(checks))
    for task, data in tasks.items():
        label = _labels(readable, data)
        used = readable[["row_id"]].assign(label=label)[_matches(readable, data)]
        outcomes += inspector.run(f"task {task}", "its rows", used, builtin.presence_checks(task, data.label))
    for outcome in outcomes:
        for row_id in outcome.offenders:
            reasons.setdefault(row_id, []).append(outcome.check.reason)
    # An empty text is too short as well, which says nothing more.
    tidy = {
        row_id: [reason for reason in why if not (reason.startswith("too short") and "empty text" in why)]
        for row_id, why in reasons.items()
    }
    return {row_id: tidy[row_id] for row_id in rows["row_id"] if row_id in tidy}


def _inspect_task(
    task: str, kept: pd.DataFrame, data: TaskData, checks: Checks, inspector: Inspector
) -> dict[str, Any]:
    used = kept[["text"]].assign(label=_labels(kept, data))[_matches(kept, data)]
    labels = used.groupby("label", sort=True).size().reset_index(name="rows")
    texts = used.groupby("text", sort=True)["label"].nunique().reset_index(name="labels")
    inspector.run(f"task {task}", "labels", labels, builtin.label_checks(task, checks))
    inspector.run(f"task {task}", "texts", texts, builtin.text_checks(task, len(labels), checks))
    return statistics.task_statistics(labels, texts)


def _require_task_columns(name: str, rows: pd.DataFrame, task: str, data: TaskData) -> None:
    columns = [column for column in rows.columns if column not in ("row_id", "fault")]
    require_columns(name, f"tasks.{task}.data.label", data.label, columns)
    for column in data.where:
        require_columns(name, f"tasks.{task}.data.where", column, columns)
    if not _matches(rows, data).any():
        found = {column: sorted(rows[column].dropna().unique())[:10] for column in data.where}
        raise SourceError(
            f"tasks.{task}.data.where is {data.where}, and no row of source {name} matches; those columns hold: {found}"
        )


def _labels(rows: pd.DataFrame, data: TaskData) -> pd.Series[Any]:
    """Return the task's labels, null where they are blank."""
    return rows[data.label].where(rows[data.label].str.strip() != "")


def _matches(rows: pd.DataFrame, data: TaskData) -> pd.Series[bool]:
    """Return which rows the task uses."""
    import pandas as pd

    chosen = pd.Series(True, index=rows.index)
    for column, value in data.where.items():
        chosen &= (rows[column] == value).fillna(False)
    return chosen


def _write(out: Path, surveys: Mapping[str, _Survey], inspector: Inspector) -> None:
    (out / "rows").mkdir(parents=True, exist_ok=True)
    for name, survey in surveys.items():
        _write_rows(out / "rows" / f"{name}.parquet", survey.kept)
    entries = [entry for name, survey in surveys.items() for entry in _quarantined(name, survey)]
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries]
    (out / "quarantine.jsonl").write_text("".join(lines), encoding="utf-8")
    figures = {name: survey.statistics for name, survey in surveys.items()}
    _write_json(out / "statistics.json", {"sources": figures})
    _write_json(out / "checks.json", [_entry(outcome) for outcome in inspector.outcomes])
    data_docs.write(out / "data_docs", inspector.pages, inspector.outcomes, figures)


def _write_rows(path: Path, rows: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column, pa.string()) for column in rows.columns])
    table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd")


def _quarantined(name: str, survey: _Survey) -> list[dict[str, Any]]:
    rows = survey.rows[survey.rows["row_id"].isin(survey.reasons)]
    others = [column for column in rows.columns if column not in ("row_id", "text", "group", "fault")]
    return [
        {
            "row_id": row["row_id"],
            "source": name,
            "reason": "; ".join(survey.reasons[row["row_id"]]),
            "text": row["text"],
            "columns": {column: row[column] for column in others if isinstance(row[column], str)},
        }
        for row in rows.to_dict("records")
    ]


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


def _report(out: Path, surveys: Mapping[str, _Survey], outcomes: list[Outcome], progress: Progress) -> None:
    for name, survey in surveys.items():
        kept, total = len(survey.kept), len(survey.rows)
        if survey.reasons:
            counts = statistics.count_reasons(survey.reasons.values())
            why = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
            progress.say(f"{name}: {total - kept:,} of {total:,} rows quarantined ({why}), see {out}/quarantine.jsonl")
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


def _result(surveys: Mapping[str, _Survey], outcomes: list[Outcome]) -> ValidateResult:
    sources = {
        name: {"rows": len(survey.rows), "kept": len(survey.kept), "quarantined": len(survey.reasons)}
        for name, survey in surveys.items()
    }
    totals = {key: sum(counts[key] for counts in sources.values()) for key in ("rows", "kept", "quarantined")}
    warnings = [_sentence(o) for o in outcomes if o.check.severity == "warning" and o.success is False]
    return ValidateResult(**totals, sources=sources, checks=len(outcomes), warnings=warnings)
