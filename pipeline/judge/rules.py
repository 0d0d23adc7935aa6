"""The gate's rules: each one a number, a bound, and the sentence a person reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.judge.bootstrap import CONFIDENCE, Resampled
from pipeline.judge.names import MAIN, PLAIN, opponent, sign, spoken

if TYPE_CHECKING:
    from pipeline.config import Gate
    from pipeline.config.judging import Consequence

# Metrics are ratios of row counts: differences below this come from float arithmetic, not from an answer.
EPSILON = 1e-9


@dataclass(frozen=True)
class Rule:
    """One rule and how the candidate did on it.

    Args:
        name: what is judged.
        severity: a failed `critical` rule fails the verdict, a failed `review` hands it to a person, a failed `warning`
            is told.
        passed: the outcome.
        value: the candidate's number (for a comparison: its difference to the opponent); None when nothing to judge.
        bound: what `value` is held against.
        interval: 95 % bootstrap interval of `value`.
        sentence: the outcome in words, with its numbers.

    """

    name: str
    severity: Consequence
    passed: bool
    value: float | None
    bound: float | None
    interval: list[float] | None
    sentence: str


@dataclass(frozen=True)
class Evidence:
    """What the rules judge.

    Args:
        task: name of the task, for the sentences.
        kind: name of its kind.
        scores: of "candidate", "baseline", "majority" and, where there are any, "champion" and "scratch", on the same
            resamples.
        undefined: metric -> why the candidate has no such number.
        said: what the majority answer is, in words.
        identical: whether the champion's answers equal the candidate's on every row; None without a champion.
        slices: as `judge_slices` gives them.
        cost: `megabytes` of the bundle, and `milliseconds` of an answer, or None where it was not measured.

    """

    task: str
    kind: str
    scores: Resampled
    undefined: Mapping[str, str]
    said: str
    identical: bool | None
    slices: list[dict[str, Any]]
    cost: Mapping[str, float | None]


def judge(gate: Gate, evidence: Evidence) -> tuple[Rule, ...]:
    """Return every rule's outcome: thresholds, calibration, cost, linear baseline, scratch, champion, slices."""
    rules = [threshold(evidence, gate, metric, bound, "critical") for metric, bound in gate.thresholds.items()]
    rules += [threshold(evidence, gate, metric, bound, "review") for metric, bound in gate.review.items()]
    if not gate.thresholds:
        rules.insert(0, default_threshold(evidence))
    if gate.max_calibration_error is not None:
        rules.append(threshold(evidence, gate, "calibration_error", gate.max_calibration_error, "critical"))
    for name, most in (("milliseconds", gate.max_milliseconds), ("megabytes", gate.max_megabytes)):
        if most is not None:
            rules.append(cost(evidence, name, most))
    metric = gate.metric or MAIN[evidence.kind]
    if gate.baseline != "off":
        rules.append(against(evidence, metric, "baseline", gate.baseline))
    if "scratch" in evidence.scores.values:
        rules.append(against(evidence, metric, "scratch", gate.scratch))
    rules.append(against_champion(evidence, metric, gate.champion_margin))
    if gate.slice_margin is not None and gate.slice_severity != "off":
        rules += slice_rules(evidence, metric, gate.slice_margin, gate.slice_severity)
    return tuple(rules)


def threshold(evidence: Evidence, gate: Gate, metric: str, bound: float, severity: Consequence) -> Rule:
    """At least `bound` in `metric`; of an error, at most."""
    value, interval = evidence.scores.values["candidate"][metric], evidence.scores.interval("candidate", metric)
    direction, name = sign(metric), f"{metric} {'>=' if sign(metric) > 0 else '<='} {bound:g}"
    if not math.isfinite(value) or interval is None:
        return Rule(name, severity, False, None, bound, None, _undefined(evidence, metric))
    held = value if gate.hold == "value" else interval[0] if direction > 0 else interval[1]
    passed = direction * held >= direction * bound - EPSILON
    outcome = ("reaches" if direction > 0 else "stays within") if passed else _missed(direction)
    short = "" if passed else f", by {abs(bound - held):.3f}"
    what = "" if gate.hold == "value" else f"; the {'lower' if direction > 0 else 'upper'} end, {held:.3f},"
    return Rule(
        name,
        severity,
        passed,
        value,
        bound,
        interval,
        f"{spoken(metric)} is {value:.3f} ({between(interval)}){what or ' and'} {outcome} the threshold of {bound:g}"
        f"{short}.",
    )


def _missed(direction: int) -> str:
    return "falls short of" if direction > 0 else "exceeds"


def _undefined(evidence: Evidence, metric: str) -> str:
    reason = evidence.undefined.get(metric, "it cannot be computed from these rows")
    return f"{spoken(metric)} is undefined, so the rule cannot hold: {reason}."


def default_threshold(evidence: Evidence) -> Rule:
    """Better than the majority answer: what stands in for thresholds when none are declared."""
    metric = PLAIN[evidence.kind]
    value, plain = (evidence.scores.values[model][metric] for model in ("candidate", "majority"))
    interval = evidence.scores.interval("candidate", metric)
    passed = sign(metric) * (value - plain) > EPSILON
    side = "above" if sign(metric) > 0 else "below"
    return Rule(
        f"{metric} {'>' if sign(metric) > 0 else '<'} {opponent('majority', evidence.kind)}",
        "critical",
        passed,
        value,
        plain,
        interval,
        f"No thresholds are declared (tasks.{evidence.task}.gate.thresholds), so the default holds: "
        f"{spoken(metric, start=False)} {side} that of {evidence.said}, {plain:.3f}. {spoken(metric)} is {value:.3f}"
        f"{bracketed(interval)}, {side if passed else f'not {side}'} it.",
    )


def cost(evidence: Evidence, name: str, most: float) -> Rule:
    """At most so many megabytes or milliseconds."""
    said = {"milliseconds": "The median answer to one text takes", "megabytes": "The bundle takes"}[name]
    unit = {"milliseconds": "ms", "megabytes": "MB"}[name]
    value = evidence.cost.get(name)
    if value is None:
        sentence = f"The {name} of the candidate were not measured, so the rule cannot hold: evaluate it again."
        return Rule(f"{name} <= {most:g}", "critical", False, None, most, None, sentence)
    passed = value <= most
    outcome = "within" if passed else "above"
    sentence = f"{said} {value:.4g} {unit}, {outcome} the bound of {most:g} {unit}."
    return Rule(f"{name} <= {most:g}", "critical", passed, value, most, None, sentence)


def against(evidence: Evidence, metric: str, model: str, severity: Consequence) -> Rule:
    """Better than an opponent that a candidate has to be worth more than, on the same rows."""
    rival = opponent(model, evidence.kind)
    name = f"{metric} {'>' if sign(metric) > 0 else '<'} {rival}"
    difference, interval = evidence.scores.difference("candidate", model, metric)
    ours, theirs = (evidence.scores.values[one][metric] for one in ("candidate", model))
    if not math.isfinite(ours):
        return Rule(name, severity, False, None, 0.0, None, _undefined(evidence, metric))
    if not math.isfinite(theirs):
        sentence = f"The {rival}'s {spoken(metric, start=False)} is undefined; the candidate's is {ours:.3f}."
        return Rule(name, severity, True, None, 0.0, None, sentence)
    passed = sign(metric) * difference > EPSILON
    verb = "beats" if passed else "does not beat"
    return Rule(
        name,
        severity,
        passed,
        difference,
        0.0,
        interval,
        f"The candidate {verb} the {rival} in {spoken(metric, start=False)}: {ours:.3f} against {theirs:.3f}, "
        f"a difference of {difference:+.3f}{bracketed(interval, signed=True)}.{doubt(interval)}",
    )


def against_champion(evidence: Evidence, metric: str, margin: float) -> Rule:
    """Not worse than the published model by more than the margin, and not merely its equal on every row."""
    direction = sign(metric)
    name = f"{metric} {'>=' if direction > 0 else '<='} champion"
    name += f" {'-' if direction > 0 else '+'} {margin:g}" if margin else ""
    bound = -direction * margin
    if evidence.identical is None:
        sentence = "There is no champion to compare with: this would be the first published model of the task."
        return Rule(name, "critical", True, None, None, None, sentence)
    difference, interval = evidence.scores.difference("candidate", "champion", metric)
    ours, theirs = (evidence.scores.values[model][metric] for model in ("candidate", "champion"))
    numbers = f"{ours:.3f} against {theirs:.3f}"
    if evidence.identical:
        sentence = (
            f"The candidate is no better than the champion: their answers are identical on every test row "
            f"({spoken(metric, start=False)} {numbers}), and a tie keeps the champion."
        )
        return Rule(
            name, "critical", False, difference if math.isfinite(difference) else None, bound, interval, sentence
        )
    if not math.isfinite(ours):
        return Rule(name, "critical", False, None, bound, None, _undefined(evidence, metric))
    if not math.isfinite(theirs):
        sentence = f"The champion's {spoken(metric, start=False)} is undefined; the candidate's is {ours:.3f}."
        return Rule(name, "critical", True, None, bound, None, sentence)
    passed = direction * difference >= -margin - EPSILON
    allowed = f" by more than the margin of {margin:g}" if margin else ""
    verb = f"is not worse than the champion{allowed}" if passed else f"is worse than the champion{allowed}"
    sentence = (
        f"The candidate {verb} in {spoken(metric, start=False)}: {numbers}, a difference of {difference:+.3f}"
        f"{bracketed(interval, signed=True)}.{doubt(interval)}"
    )
    return Rule(name, "critical", passed, difference, bound, interval, sentence)


def slice_rules(evidence: Evidence, metric: str, margin: float, severity: Consequence) -> list[Rule]:
    """On every slice not worse than the champion by more than the margin: a rule per slice that is, one for the rest.

    There is none without a champion, and slices with too few rows are left out.
    """
    direction = sign(metric)
    judged = [entry for entry in evidence.slices if (entry["difference"] or {}).get("value") is not None]
    judged.sort(key=lambda entry: direction * entry["difference"]["value"])  # the worst first
    worse = [entry for entry in judged if direction * entry["difference"]["value"] < -margin - EPSILON]
    rules = [_slice_rule(entry, metric, margin, severity, passed=False) for entry in worse]
    if held := judged[len(worse) :]:
        rest = "Of the other slices" if worse else "Of the slices"
        rule = _slice_rule(held[0], metric, margin, severity, passed=True)
        sentence = f"{rest} ({len(held)}) none is worse by more than the margin. The least: {rule.sentence}"
        rules.append(replace(rule, name=f"{metric} on slices", sentence=sentence))
    return rules


def _slice_rule(entry: dict[str, Any], metric: str, margin: float, severity: Consequence, *, passed: bool) -> Rule:
    difference, interval = entry["difference"]["value"], entry["difference"]["interval"]
    ours, theirs = (entry["scores"][model][metric]["value"] for model in ("candidate", "champion"))
    verb = "is not worse" if passed else "is worse"
    sentence = (
        f"On the slice {entry['by']} = {entry['slice']} ({entry['rows']:,} rows) the candidate {verb} than the "
        f"champion by more than the margin of {margin:g} in {spoken(metric, start=False)}: {ours:.3f} against "
        f"{theirs:.3f}, a difference of {difference:+.3f}{bracketed(interval, signed=True)}.{doubt(interval)}"
    )
    name = f"{metric} on {entry['by']} = {entry['slice']}"
    return Rule(name, severity, passed, difference, -sign(metric) * margin, interval, sentence)


def between(interval: list[float], *, signed: bool = False) -> str:
    """Return the interval in words."""
    low, high = (f"{end:+.3f}" if signed else f"{end:.3f}" for end in interval)
    return f"{CONFIDENCE:.0%} interval {low} to {high}"


def bracketed(interval: list[float] | None, *, signed: bool = False) -> str:
    """Return the interval in words and brackets, after a blank; nothing where there is none."""
    return "" if interval is None else f" ({between(interval, signed=signed)})"


def doubt(interval: list[float] | None) -> str:
    """Return the sentence that an interval around zero calls for."""
    if interval is None or not interval[0] <= 0 <= interval[1]:
        return ""
    return " The interval includes zero, so chance could explain it."
