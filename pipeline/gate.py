"""Decide whether a candidate may be published, and say why: the verdict is always written, on a fail too.

Thresholds are held against the value on the test rows or the worse end of its interval, as the recipe says; "not worse
than the champion" is decided by the value, and the interval beside it says how far chance alone could move it.
Candidate, baselines and champion answer the same test rows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.baseline import MAJORITY
from pipeline.config import Recipe
from pipeline.judge.bootstrap import CONFIDENCE, RESAMPLES, mcnemar, resample
from pipeline.judge.kinds import Predictions
from pipeline.judge.names import MAIN, SMALLER_IS_BETTER
from pipeline.judge.predictions import read_metrics, read_predictions, same_rows, unseen_rows
from pipeline.judge.prose import prose
from pipeline.judge.rules import Evidence, Rule, judge
from pipeline.judge.slices import judge_slices
from pipeline.progress import Progress

Answers = dict[str, Predictions]


@dataclass(frozen=True)
class GateResult:
    """The verdict, `pass`, `fail` or `needs_review`, and the sentences that decided it."""

    task: str
    verdict: str
    reasons: list[str]


def gate(
    recipe: Recipe,
    task: str,
    candidate: Path,
    baseline: Path,
    champion: Path | None,
    out: Path,
    progress: Progress,
    scratch: Path | None = None,
) -> GateResult:
    """Judge the candidate by the recipe's rules; write gate.json and gate.md.

    Args:
        recipe: `seed`, `tasks.<task>.gate` and `tasks.<task>.evaluate.slice_rows` are read.
        task: name of the task.
        candidate: artifact folder of `evaluate` for the candidate.
        baseline: artifact folder of `baseline`.
        champion: artifact folder of `evaluate` for the published model; None when nothing is published yet.
        out: receives gate.json and gate.md.
        progress: told the verdict.
        scratch: artifact folder of `evaluate` for the same model without pretraining; None when it was not asked for.

    Raises:
        TradewindError: the models did not answer the same rows.

    """
    opponents = {"baseline": baseline, "scratch": scratch, "champion": champion, "majority": baseline / MAJORITY}
    folders = {"candidate": candidate} | opponents
    answers = same_rows(task, {model: read_predictions(path) for model, path in folders.items() if path})
    kind, section = answers["candidate"].kind, recipe.tasks[task].gate
    metric, metrics = section.metric or MAIN[kind], read_metrics(candidate)
    scores = resample(answers, recipe.seed)
    slices = judge_slices(answers, metric, recipe.tasks[task].evaluate.slice_rows, recipe.seed)
    said = read_metrics(baseline / MAJORITY)["said"]
    cost = metrics.get("cost", {})
    evidence = Evidence(task, kind, scores, metrics["undefined"], said, identical(answers), slices, cost)
    rules = judge(section, evidence)
    verdict, reasons = verdict_of(rules), reasons_of(rules)
    record = {
        "verdict": verdict,
        "task": task,
        "kind": kind,
        "metric": metric,
        "smaller_is_better": [name for name in metrics["headlines"] if name in SMALLER_IS_BETTER],
        "rows": len(answers["candidate"].rows),
        "rules": [asdict(rule) for rule in rules],
        "reasons": reasons,
        "scores": scores.table(),
        "undefined": metrics["undefined"],
        "mcnemar": tests(answers),
        "slices": slices,
        "cost": cost,
        "unseen_rows": {model: unseen_rows(predictions) for model, predictions in answers.items()},
        "bootstrap": {"resamples": RESAMPLES, "confidence": CONFIDENCE, "seed": recipe.seed, "units": scores.units},
    }
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    (out / "gate.json").write_text(text + "\n", encoding="utf-8")
    (out / "gate.md").write_text(prose(record), encoding="utf-8")
    progress.say(f"verdict on {task}: {verdict}. {' '.join(reasons)}")
    return GateResult(task=task, verdict=verdict, reasons=reasons)


def identical(answers: Answers) -> bool | None:
    """Return whether the champion answers every row as the candidate does; None without a champion."""
    if "champion" not in answers:
        return None
    ours, theirs = (answers[model].rows["predicted"].tolist() for model in ("candidate", "champion"))
    return bool(ours == theirs)


def tests(answers: Answers) -> dict[str, Any]:
    """Return McNemar's test of the candidate against each opponent."""
    opponents = [model for model in answers if model != "candidate"]
    found = {model: mcnemar(answers["candidate"], answers[model]) for model in opponents}
    return {model: test for model, test in found.items() if test is not None}


def verdict_of(rules: tuple[Rule, ...]) -> str:
    """Return `fail` when a critical rule fails, else `needs_review` when a rule for review does, else `pass`."""
    failed = {rule.severity for rule in rules if not rule.passed}
    return "fail" if "critical" in failed else "needs_review" if "review" in failed else "pass"


def reasons_of(rules: tuple[Rule, ...]) -> list[str]:
    """Return the sentences of what failed, critical ones first; of a clean pass, that everything holds."""
    failed = [rule for rule in rules if not rule.passed]
    critical = [rule.sentence for rule in failed if rule.severity == "critical"]
    review = [f"For review: {rule.sentence}" for rule in failed if rule.severity == "review"]
    warnings = [f"Warning: {rule.sentence}" for rule in failed if rule.severity == "warning"]
    return [*(critical or ["Every critical rule holds."]), *review, *warnings]
