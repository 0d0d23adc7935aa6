"""The checks of the pipeline: which Great Expectations check, with which arguments, said in which words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.config import Checks

# Blanks beyond ASCII, which `\s` leaves out in Arrow's regular expressions.
NOT_BLANK = "[^\\s\x0b\u0085\u00a0\u1680\u2000-\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]"
# Control characters except tab, line feed, vertical tab, form feed, carriage return and next line.
CONTROL = "[\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]"
REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Check:
    """One expectation with a name, what a breach does, and its meaning in words.

    `severity`: `quarantine` sets the offending rows aside, `critical` stops the run, `warning` is reported. `reason`
    is what a quarantined row is told, `fix` what the user is; `own` marks a check that the recipe brings.
    """

    name: str
    severity: Literal["quarantine", "critical", "warning"]
    type: str
    arguments: dict[str, Any]
    expected: str
    reason: str = ""
    fix: str = ""
    own: bool = False


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
            "text long enough", lengths, {"min_value": shortest}, f"at least {shortest} characters",
            f"too short: fewer than {shortest} characters",
        ),
        _quarantine(
            "text short enough", lengths, {"max_value": longest}, f"at most {longest} characters",
            f"too long: more than {longest} characters",
        ),
        _quarantine(
            "no control characters", no_match, {"regex": CONTROL}, "no control character", "control character"
        ),
        _quarantine(
            "no replacement characters", no_match, {"regex": REPLACEMENT}, "no U+FFFD",
            "replacement character: U+FFFD stands where a character was lost",
        ),
        Check(
            "row ids unique", "quarantine", "expect_column_values_to_be_unique", {"column": "row_id"},
            "every row id once", "duplicate row id",
        ),
    ]  # fmt: skip


def quarantine_checks(name: str, checks: Checks) -> list[Check]:
    """Return the check on how many rows may be quarantined: on a frame whose `reason` is null for sound rows."""
    share = checks.max_quarantined
    return [
        Check(
            "few rows quarantined", "critical", "expect_column_values_to_be_null",
            {"column": "reason", "mostly": round(1 - share, 12)}, f"at most {share:.2%} of the rows",
            fix=f"repair {name}'s rows, or raise data.checks.max_quarantined",
        )
    ]  # fmt: skip


def table_checks(checks: Checks) -> list[Check]:
    """Return the checks that the sound rows of a source must pass together."""
    return [
        Check(
            "enough rows", "critical", "expect_table_row_count_to_be_between", {"min_value": checks.min_rows},
            f"at least {checks.min_rows} sound rows", fix="add rows, or lower data.checks.min_rows",
        ),
        Check(
            "few repeated texts", "warning", "expect_column_proportion_of_unique_values_to_be_between",
            {"column": "text", "min_value": round(1 - checks.max_duplicates, 12)},
            f"at least {1 - checks.max_duplicates:.2%} of the texts distinct",
            fix="preprocess drops the repetitions; raise data.checks.max_duplicates if they are meant",
        ),
    ]  # fmt: skip


def presence_checks(task: str, label: str) -> list[Check]:
    """Return the check that a row has the label its task needs: on a frame whose `label` is null for none."""
    return [
        Check(
            "label present", "quarantine", "expect_column_values_to_not_be_null", {"column": "label"},
            f"a value in column {label}", f"no label: column {label} is empty, and task {task} needs it",
        )
    ]  # fmt: skip


def label_checks(task: str, checks: Checks) -> list[Check]:
    """Return the checks on a frame with one row per label: `label`, `rows`."""
    least = checks.min_rows_per_label
    return [
        Check(
            "at least two classes", "critical", "expect_table_row_count_to_be_between", {"min_value": 2},
            "at least 2 distinct labels",
            fix=f"check tasks.{task}.data.label and .where, or add rows of another class",
        ),
        Check(
            "enough rows per label", "warning", "expect_column_values_to_be_between",
            {"column": "rows", "min_value": least}, f"at least {least} rows of every label",
            fix="add rows of the rare labels, or merge them into one",
        ),
    ]  # fmt: skip


def text_checks(task: str, classes: int, checks: Checks) -> list[Check]:
    """Return the checks on a frame with one row per distinct text: `text`, `labels` (how many it carries)."""
    share = checks.max_conflicting_labels
    return [
        Check(
            "more texts than classes", "critical", "expect_table_row_count_to_be_between",
            {"min_value": classes + 1}, f"more distinct texts than the {classes} classes",
            fix=f"add rows; or tasks.{task}.data.label names an identifier instead of a class",
        ),
        Check(
            "one label per text", "warning", "expect_column_values_to_be_between",
            {"column": "labels", "max_value": 1, "mostly": round(1 - share, 12)},
            f"at most {share:.2%} of the texts with more than one label",
            fix="relabel these texts, or raise data.checks.max_conflicting_labels",
        ),
    ]  # fmt: skip


def _quarantine(name: str, kind: str, arguments: dict[str, Any], expected: str, reason: str) -> Check:
    return Check(name, "quarantine", kind, {"column": "text", **arguments}, expected, reason)
