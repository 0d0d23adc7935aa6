"""The verdict as a page that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.judge.names import MAIN, PLAIN, opponent, spoken


def figures(metrics: Mapping[str, Any]) -> str:
    """Return the two numbers of metrics.json that a kind is best known by."""
    names = dict.fromkeys((PLAIN[metrics["kind"]], MAIN[metrics["kind"]]))
    return ", ".join(f"{spoken(name, start=False)} {number(metrics[name])}" for name in names)


def number(value: float | None) -> str:
    """Return a number with three digits, `undefined` for null."""
    return "undefined" if value is None else f"{value:.3f}"


def cell(score: Mapping[str, Any]) -> str:
    """Return a value with its interval."""
    interval = score["interval"]
    return number(score["value"]) + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def prose(record: dict[str, Any]) -> str:
    """Return the contents of gate.json as Markdown."""
    bootstrap = record["bootstrap"]
    lines = [f"# Verdict on `{record['task']}`: {record['verdict']}", "", *record["reasons"], "", "## Rules", ""]
    outcomes = {"critical": "FAILS", "review": "needs a person's review", "warning": "fails (warning)"}
    for rule in record["rules"]:
        outcome = "holds" if rule["passed"] else outcomes[rule["severity"]]
        lines.append(f"- **{rule['name']}** ({rule['severity']}) {outcome}. {rule['sentence']}")
    models, kind = list(record["scores"]), record["kind"]
    lines += ["", "## Scores", "", f"| metric | {' | '.join(opponent(model, kind) for model in models)} |"]
    lines.append("|---|" + "---|" * len(models))
    for metric in record["scores"]["candidate"]:
        lines.append(f"| {spoken(metric)} | {' | '.join(cell(record['scores'][model][metric]) for model in models)} |")
    unit = "rows" if bootstrap["units"] == record["rows"] else "groups of rows that belong together"
    lines += [
        "",
        f"On {record['rows']:,} test rows; {bootstrap['confidence']:.0%} intervals from {bootstrap['resamples']:,} "
        f"bootstrap resamples of {bootstrap['units']:,} {unit} (seed {bootstrap['seed']}), the same for every model.",
    ]
    for metric, reason in record["undefined"].items():
        lines.append(f"{spoken(metric)} is undefined: {reason}.")
    for model, test in record["mcnemar"].items():
        lines.append(
            f"McNemar: {test['only_candidate']:,} rows only the candidate has right, {test['only_opponent']:,} only "
            f"the {opponent(model, kind)} (p = {test['p']:.2g})."
        )
    for model, unseen in record["unseen_rows"].items():
        if unseen:
            lines.append(f"{unseen:,} rows carry labels that the {model} never saw; they count as wrong.")
    return "\n".join([*lines, *_slices(record)]) + "\n"


def _slices(record: dict[str, Any]) -> list[str]:
    judged = [entry for entry in record["slices"] if entry["scores"]]
    if not judged:
        return []
    metric, models = record["metric"], [model for model in record["scores"] if model in judged[0]["scores"]]
    lines = ["", f"## Slices: {spoken(metric, start=False)}", ""]
    lines += [f"| slice | rows | {' | '.join(opponent(model, record['kind']) for model in models)} |"]
    lines.append("|---|---|" + "---|" * len(models))
    for entry in judged:
        cells = " | ".join(cell(entry["scores"][model][metric]) for model in models)
        lines.append(f"| {entry['by']}: {entry['slice']} | {entry['rows']:,} | {cells} |")
    return lines
