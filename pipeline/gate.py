"""Decide whether a candidate may be published, and say why: the verdict is always written, on a fail too.

Thresholds and "not worse than the champion" are decided by the value on the test rows; the bootstrap interval beside
each says how far chance alone could move it. Candidate, linear baseline and champion answer the same test rows.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Recipe
from pipeline.judge.bootstrap import CONFIDENCE, RESAMPLES, Resampled, resample
from pipeline.judge.metrics import HEADLINES
from pipeline.judge.predictions import read_predictions, same_rows
from pipeline.judge.prose import prose
from pipeline.judge.rules import Rule, judge
from pipeline.progress import Progress


@dataclass(frozen=True)
class GateResult:
    """The verdict, `pass` or `fail`, and the sentences that decided it."""

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
) -> GateResult:
    """Judge the candidate by the recipe's rules; write gate.json and gate.md.

    Args:
        recipe: `seed` and `tasks.<task>.gate` are read.
        task: name of the task.
        candidate: artifact folder of `evaluate` for the candidate.
        baseline: artifact folder of `baseline`.
        champion: artifact folder of `evaluate` for the published model; None when nothing is published yet.
        out: receives gate.json and gate.md.
        progress: told the verdict.

    Raises:
        TradewindError: the models did not answer the same rows.

    """
    answers = {"candidate": read_predictions(candidate), "baseline": read_predictions(baseline)}
    if champion is not None:
        answers["champion"] = read_predictions(champion)
    answers = same_rows(task, answers)
    truth = answers["candidate"].rows["label"].tolist()
    predicted = {model: predictions.rows["predicted"].tolist() for model, predictions in answers.items()}
    labels = sorted({label for predictions in answers.values() for label in predictions.labels})
    scores = resample(labels, truth, predicted, answers["candidate"].rows["group"].tolist(), recipe.seed)
    majority, count = Counter(sorted(truth)).most_common(1)[0]
    identical = predicted["candidate"] == predicted["champion"] if champion is not None else None
    section = recipe.tasks[task].gate
    rules = judge(section, task, scores, (majority, count / len(truth)), identical)

    verdict = "pass" if all(rule.passed for rule in rules if rule.severity == "critical") else "fail"
    reasons = reasons_of(rules)
    record = {
        "verdict": verdict,
        "task": task,
        "metric": section.metric,
        "rows": len(truth),
        "rules": [asdict(rule) for rule in rules],
        "reasons": reasons,
        "scores": table(scores),
        "unseen_rows": {model: sum(predictions.unseen.values()) for model, predictions in answers.items()},
        "bootstrap": {"resamples": RESAMPLES, "confidence": CONFIDENCE, "seed": recipe.seed, "units": scores.units},
    }
    (out / "gate.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "gate.md").write_text(prose(record), encoding="utf-8")
    progress.say(f"verdict on {task}: {verdict}. {' '.join(reasons)}")
    return GateResult(task=task, verdict=verdict, reasons=reasons)


def reasons_of(rules: tuple[Rule, ...]) -> list[str]:
    """Return the sentences of what failed, critical ones first; of a clean pass, that everything holds."""
    critical = [rule.sentence for rule in rules if not rule.passed and rule.severity == "critical"]
    warnings = [f"Warning: {rule.sentence}" for rule in rules if not rule.passed and rule.severity == "warning"]
    return [*(critical or ["Every critical rule holds."]), *warnings]


def table(scores: Resampled) -> dict[str, dict[str, dict[str, Any]]]:
    """Return model -> metric -> {value, interval}, as the report shows it."""
    return {
        model: {
            metric: {"value": scores.values[model][metric], "interval": scores.interval(model, metric)}
            for metric in HEADLINES
        }
        for model in scores.values
    }
