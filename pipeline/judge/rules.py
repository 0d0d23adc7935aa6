"""The gate's rules: each one a number, a bound, and the sentence a person reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.judge.bootstrap import CONFIDENCE, Resampled

if TYPE_CHECKING:
    from pipeline.config import Gate, Severity

# Metrics are ratios of row counts: differences below this come from float arithmetic, not from an answer.
EPSILON = 1e-9


@dataclass(frozen=True)
class Rule:
    """One rule and how the candidate did on it.

    Args:
        name: what is judged.
        severity: a failed `critical` rule fails the verdict; a failed `warning` is told.
        passed: the outcome.
        value: the candidate's number (for a comparison: its difference to the opponent); None when nothing to judge.
        bound: what `value` is held against.
        interval: 95 % bootstrap interval of `value`.
        sentence: the outcome in words, with its numbers.

    """

    name: str
    severity: Severity
    passed: bool
    value: float | None
    bound: float | None
    interval: list[float] | None
    sentence: str


def judge(
    gate: Gate, task: str, scores: Resampled, majority: tuple[str, float], identical: bool | None
) -> tuple[Rule, ...]:
    """Return every rule's outcome, in the order thresholds, linear baseline, champion.

    Args:
        gate: the task's rules.
        task: name of the task, for the sentences.
        scores: of "candidate", "baseline" and, when there is one, "champion", on the same resamples.
        majority: the most frequent label of the test rows, and its share.
        identical: whether the champion's answers equal the candidate's on every row; None without a champion.

    """
    rules = [threshold(scores, metric, bound) for metric, bound in gate.thresholds.items()]
    if not rules:
        rules = [default_threshold(scores, task, majority)]
    if gate.baseline != "off":
        rules.append(against_baseline(scores, gate.metric, gate.baseline))
    rules.append(against_champion(scores, gate, identical))
    return tuple(rules)


def threshold(scores: Resampled, metric: str, bound: float) -> Rule:
    """At least `bound` in `metric`."""
    value, interval = scores.values["candidate"][metric], scores.interval("candidate", metric)
    passed = value >= bound - EPSILON
    outcome = "reaches" if passed else "falls short of"
    return Rule(
        f"{metric} >= {bound:g}",
        "critical",
        passed,
        value,
        bound,
        interval,
        f"{spoken(metric)} is {value:.3f} ({between(interval)}) and {outcome} the threshold of {bound:g}"
        f"{'' if passed else f', by {bound - value:.3f}'}.",
    )


def default_threshold(scores: Resampled, task: str, majority: tuple[str, float]) -> Rule:
    """Better than always giving the most frequent answer: what stands in for thresholds when none are declared."""
    label, share = majority
    value, interval = scores.values["candidate"]["accuracy"], scores.interval("candidate", "accuracy")
    passed = value > share + EPSILON
    return Rule(
        "accuracy > majority class",
        "critical",
        passed,
        value,
        share,
        interval,
        f"No thresholds are declared (tasks.{task}.gate.thresholds), so the default holds: accuracy above that of "
        f'always answering "{label}", {share:.3f}. Accuracy is {value:.3f} ({between(interval)}), '
        f"{'above' if passed else 'not above'} it.",
    )


def against_baseline(scores: Resampled, metric: str, severity: Severity) -> Rule:
    """Better than the linear model, on the same rows."""
    difference, interval = scores.difference("candidate", "baseline", metric)
    passed = difference > EPSILON
    numbers = f"{scores.values['candidate'][metric]:.3f} against {scores.values['baseline'][metric]:.3f}"
    verb = "beats" if passed else "does not beat"
    return Rule(
        f"{metric} > linear baseline",
        severity,
        passed,
        difference,
        0.0,
        interval,
        f"The candidate {verb} the linear baseline in {spoken(metric, start=False)}: {numbers}, a difference of "
        f"{difference:+.3f} ({between(interval, signed=True)}).{doubt(interval)}",
    )


def against_champion(scores: Resampled, gate: Gate, identical: bool | None) -> Rule:
    """Not worse than the published model by more than the margin, and not merely its equal on every row."""
    metric, margin = gate.metric, gate.champion_margin
    name = f"{metric} >= champion" + (f" - {margin:g}" if margin else "")
    if identical is None:
        sentence = "There is no champion to compare with: this would be the first published model of the task."
        return Rule(name, "critical", True, None, None, None, sentence)
    difference, interval = scores.difference("candidate", "champion", metric)
    numbers = f"{scores.values['candidate'][metric]:.3f} against {scores.values['champion'][metric]:.3f}"
    if identical:
        sentence = (
            f"The candidate is no better than the champion: their answers are identical on every test row "
            f"({spoken(metric, start=False)} {numbers}), and a tie keeps the champion."
        )
        return Rule(name, "critical", False, difference, -margin, interval, sentence)
    passed = difference >= -margin - EPSILON
    allowed = f" by more than the margin of {margin:g}" if margin else ""
    verb = f"is not worse than the champion{allowed}" if passed else f"is worse than the champion{allowed}"
    sentence = (
        f"The candidate {verb} in {spoken(metric, start=False)}: {numbers}, a difference of {difference:+.3f} "
        f"({between(interval, signed=True)}).{doubt(interval)}"
    )
    return Rule(name, "critical", passed, difference, -margin, interval, sentence)


def spoken(metric: str, *, start: bool = True) -> str:
    """Return `macro_f1` as `Macro-F1` (or `macro-F1` within a sentence)."""
    words = metric.replace("_", "-").replace("f1", "F1")
    return words[0].upper() + words[1:] if start else words


def between(interval: list[float], *, signed: bool = False) -> str:
    """Return the interval in words."""
    low, high = (f"{end:+.3f}" if signed else f"{end:.3f}" for end in interval)
    return f"{CONFIDENCE:.0%} interval {low} to {high}"


def doubt(interval: list[float]) -> str:
    """Return the sentence that an interval around zero calls for."""
    return " The interval includes zero, so chance could explain it." if interval[0] <= 0 <= interval[1] else ""
