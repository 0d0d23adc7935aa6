"""The verdict as a page that a person reads."""

from __future__ import annotations

from typing import Any

from pipeline.judge.metrics import HEADLINES
from pipeline.judge.rules import between, spoken


def prose(record: dict[str, Any]) -> str:
    """Return the contents of gate.json as Markdown."""
    bootstrap = record["bootstrap"]
    lines = [f"# Verdict on `{record['task']}`: {record['verdict']}", "", *record["reasons"], "", "## Rules", ""]
    for rule in record["rules"]:
        outcome = "holds" if rule["passed"] else "FAILS" if rule["severity"] == "critical" else "fails (warning)"
        lines.append(f"- **{rule['name']}** ({rule['severity']}) {outcome}. {rule['sentence']}")
    lines += ["", "## Scores", "", "| metric | " + " | ".join(record["scores"]) + " |"]
    lines.append("|---|" + "---|" * len(record["scores"]))
    for metric in HEADLINES:
        cells = [scores[metric] for scores in record["scores"].values()]
        spans = [f"{cell['value']:.3f} ({between(cell['interval'])})" for cell in cells]
        lines.append(f"| {spoken(metric)} | " + " | ".join(spans) + " |")
    unit = "rows" if bootstrap["units"] == record["rows"] else "groups of rows that belong together"
    lines += [
        "",
        f"On {record['rows']:,} test rows; intervals from {bootstrap['resamples']:,} bootstrap resamples of "
        f"{bootstrap['units']:,} {unit} (seed {bootstrap['seed']}), the same ones for every model.",
    ]
    for model, unseen in record["unseen_rows"].items():
        if unseen:
            lines.append(f"{unseen:,} rows carry labels that the {model} never saw; they count as wrong.")
    return "\n".join(lines) + "\n"
