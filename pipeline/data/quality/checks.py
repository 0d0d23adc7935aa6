"""The checks of the pipeline: which Great Expectations check, with which arguments, said in which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.config import Checks, ColumnCheck, Severity, TaskData

# Blanks beyond ASCII, which `\s` leaves out in Arrow's regular expressions.
NOT_BLANK = "[^\\s\x0b\u0085\u00a0\u1680\u2000-\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]"
# Control characters except tab, line feed, vertical tab, form feed, carriage return and next line.
CONTROL = "[\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]"
REPLACEMENT = "\ufffd"

DAY = (
    r"[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
)
TIME = r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?(?:Z|[-+][0-9]{2}:?[0-9]{2})?)?"
# What a value of a type is, and how that is said.
TYPES = {
    "number": (r"^\s*[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*$", "a number"),
    "integer": (r"^\s*[-+]?[0-9]+\s*$", "a whole number"),
    "date": (rf"^\s*(?:{DAY}){TIME}\s*$", "a date such as 2026-04-01 or 2026-04-01T12:30:00Z"),
    "boolean": (r"^\s*(?i:true|false|yes|no|0|1)\s*$", "true or false (yes, no, 1, 0)"),
}
NUMBERS = ("number", "integer")
REPEATS = "row_id repeats"
ANSWER_FAULT = "answer fault"


@dataclass(frozen=True)
class Check:
    """One expectation with a name, what a breach does, and its meaning in words.

    `severity`: `quarantine` sets the offending rows aside, `critical` stops the run, `warning` is reported. `reason`
    is what a quarantined row is told (empty: what its own value of the column says), `fix` what the user is; `own`
    marks a check that the recipe brings.
    """

    name: str
    severity: Literal["quarantine", "critical", "warning"]
    type: str
    arguments: dict[str, Any]
    expected: str
    reason: str = ""
    fix: str = ""
    own: bool = False


@dataclass(frozen=True)
class Measure:
    """A figure of many rows together, in number and in words, and the check on it."""

    check: Check
    value: float
    told: str


class Judge:
    """Collects the measures of a source or task, each under the severity that the recipe gives it."""

    def __init__(self, checks: Checks) -> None:
        self.checks = checks
        self.measures: list[Measure] = []

    def add(
        self,
        name: str,
        value: float,
        told: str,
        expected: str,
        fix: str,
        *,
        least: float | None = None,
        most: float | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Add a measure that must be at least or at most so much; `severity`: the recipe has no say in it."""
        decided = severity or self.checks.severity_of(name.replace(" ", "_"))
        if decided != "off":
            bounds = {"min_value": least, "max_value": most}
            arguments = {"column": name} | {key: bound for key, bound in bounds.items() if bound is not None}
            check = Check(name, decided, "expect_column_max_to_be_between", arguments, expected, fix=fix)
            self.measures.append(Measure(check, value, told))


def row_checks(checks: Checks) -> list[Check]:
    """Return the checks that every row's text must pass."""
    shortest, longest = checks.min_characters, checks.max_characters
    lengths = "expect_column_value_lengths_to_be_between"
    no_match = "expect_column_values_to_not_match_regex"
    return [
        _quarantine(
            "text present", "expect_column_values_to_match_regex", {"regex": NOT_BLANK}, "a text", "empty text"
        ),
        _quarantine(
            "text long enough", lengths, {"min_value": shortest}, f"at least {shortest:,} characters",
            f"too short: fewer than {shortest:,} characters",
        ),
        _quarantine(
            "text short enough", lengths, {"max_value": longest}, f"at most {longest:,} characters",
            f"too long: more than {longest:,} characters",
        ),
        _quarantine(
            "no control characters", no_match, {"regex": CONTROL}, "no control character", "control character"
        ),
        _quarantine(
            "no replacement characters", no_match, {"regex": REPLACEMENT}, "no U+FFFD",
            "replacement character: U+FFFD stands where a character was lost",
        ),
    ]  # fmt: skip


def id_checks(column: str) -> list[Check]:
    """Return the check on the rows' ids: on a frame whose column REPEATS tells of the row that had the id before."""
    return [
        Check(
            "row ids unique", "quarantine", "expect_column_values_to_be_null", {"column": REPEATS},
            f"every value of column {column} once",
        )
    ]  # fmt: skip


def column_checks(columns: Mapping[str, ColumnCheck]) -> list[Check]:
    """Return the checks of the recipe's columns: on a frame without blank values, with `number_name` as numbers."""
    checks = []
    for column, asked in columns.items():
        if asked.required:
            checks.append(
                _quarantine(
                    f"{column} present", "expect_column_values_to_not_be_null", {}, f"a value in column {column}",
                    f"no {column}: the column is empty", column,
                )
            )  # fmt: skip
        if asked.type != "text":
            regex, words = TYPES[asked.type]
            checks.append(
                _matching(f"{column} of its type", column, regex, words, f"{column} not of type {asked.type}")
            )
        if asked.min is not None or asked.max is not None:
            checks.append(_in_range(column, asked))
        if asked.values is not None:
            words = f"one of {', '.join(asked.values)}"
            checks.append(
                _quarantine(
                    f"{column} allowed", "expect_column_values_to_be_in_set", {"value_set": asked.values}, words,
                    f"{column} not allowed: expected {_cut(words)}", column,
                )
            )  # fmt: skip
        if asked.pattern is not None:
            words = f"a value that matches {asked.pattern}"
            checks.append(
                _matching(f"{column} matching", column, f"^(?:{asked.pattern})$", words, f"{column} not matching")
            )
    return checks


def number_name(column: str) -> str:
    """Return the name under which a frame has the numbers of a column."""
    return f"{column} as number"


def task_checks(task: str, data: TaskData) -> list[Check]:
    """Return the checks that a row of a task must pass: on a frame whose `label` is null for none.

    The answers of other kinds than classes are read first, and its column ANSWER_FAULT says what is wrong with one.
    """
    if data.kind != "classification":
        return [
            Check(
                "label readable", "quarantine", "expect_column_values_to_be_null", {"column": ANSWER_FAULT},
                f"an answer of the kind {data.kind} in column {data.label}",
            )
        ]  # fmt: skip
    checks = [
        Check(
            "label present", "quarantine", "expect_column_values_to_not_be_null", {"column": "label"},
            f"a value in column {data.label}", f"no label: column {data.label} is empty, and task {task} needs it",
        )
    ]  # fmt: skip
    if data.labels is not None:
        words = f"one of tasks.{task}.data.labels: {', '.join(data.labels)}"
        checks.append(
            Check(
                "label allowed", "quarantine", "expect_column_values_to_be_in_set",
                {"column": "label", "value_set": data.labels}, words, f"label not allowed: expected {_cut(words)}",
            )
        )  # fmt: skip
    return checks


def share(part: int, of: int) -> float:
    """Return part / of, 0 of nothing."""
    return part / of if of else 0.0


def told_share(part: int, of: int, what: str) -> str:
    """Return `2 of 40 texts (5.00%)`."""
    return f"{part:,} of {of:,}{what} ({share(part, of):.2%})"


def _in_range(column: str, asked: ColumnCheck) -> Check:
    limits = {"at least": asked.min, "at most": asked.max}
    words = " and ".join(f"{word} {limit:.12g}" for word, limit in limits.items() if limit is not None)
    bounds = {"min_value": asked.min, "max_value": asked.max}
    arguments = {key: bound for key, bound in bounds.items() if bound is not None}
    return _quarantine(
        f"{column} in range", "expect_column_values_to_be_between", arguments, words,
        f"{column} out of range: expected {words}", number_name(column),
    )  # fmt: skip


def _matching(name: str, column: str, regex: str, expected: str, reason: str) -> Check:
    kind = "expect_column_values_to_match_regex"
    return _quarantine(name, kind, {"regex": regex}, expected, f"{reason}: expected {_cut(expected)}", column)


def _quarantine(
    name: str, kind: str, arguments: dict[str, Any], expected: str, reason: str, column: str = "text"
) -> Check:
    return Check(name, "quarantine", kind, {"column": column, **arguments}, expected, reason)


def _cut(words: str) -> str:
    return words if len(words) <= 120 else f"{words[:117]}..."
