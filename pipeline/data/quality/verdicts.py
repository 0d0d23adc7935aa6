"""What is judged of a source's rows together, once all of them went by, and the statistics that say it in figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.config import Severity
from pipeline.data.answers import ANSWER
from pipeline.data.quality.checks import Judge, share, told_share
from pipeline.data.quality.figures.profile import Profile, kinds, ranked
from pipeline.data.quality.figures.spool import group_starts
from pipeline.data.quality.figures.texts import damaged, languages

if TYPE_CHECKING:
    from pipeline.data.quality.survey import Survey, TaskRows


TAG = r"(?:O|[BIESLU]-[\w.-]+)"  # of the IOB schemes
TAGS = re.compile(rf"[\s\['\"]*{TAG}(?:[\s,'\"]+{TAG})+[\s\]'\"]*")
MOST_TAGS = 0.2


def conclude(survey: Survey) -> dict[str, Any]:
    """Judge the rows of a source together, then those of its tasks; return the statistics."""
    profile = survey.profiles[()]
    figures: dict[str, Any] = {
        "rows": survey.rows,
        "kept": survey.kept,
        "quarantined": survey.rows - survey.kept,
        "quarantined_by_reason": ranked(survey.reasons),
        "quarantined_examples": survey.examples,
        **profile.statistics(),
    }
    judge = Judge(survey.checks)
    _judge_counts(survey, judge, figures)
    _judge_texts(survey, judge, profile, figures)
    _judge_unique(survey, judge)
    survey.inspector.measure(survey.name, "rows together", judge.measures)
    figures["tasks"] = {task.name: _conclude_task(survey, task) for task in survey.tasks}
    return figures


def _judge_counts(survey: Survey, judge: Judge, figures: dict[str, Any]) -> None:
    name, checks, aside = survey.name, survey.checks, survey.rows - survey.kept
    encoded = (
        f" (if the file is Latin-1: data.sources.{name}.encoding: latin-1)" if "not UTF-8" in survey.reasons else ""
    )
    repair = f"repair {name}'s rows{encoded}"
    judge.add(
        "few rows quarantined", share(aside, survey.rows), told_share(aside, survey.rows, " rows"),
        f"at most {checks.max_quarantined:.2%} of the rows",
        f"{repair}, or raise data.checks.max_quarantined", most=checks.max_quarantined,
    )  # fmt: skip
    told: str = f"{survey.kept:,}"
    severity: Severity | None = None
    if not survey.kept:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in figures["quarantined_by_reason"].items())
        told, severity = f"0, as every one of the {survey.rows:,} rows is quarantined ({counts})", "critical"
    judge.add(
        "enough rows", survey.kept, told, f"at least {checks.min_rows} sound rows",
        "add rows, or lower data.checks.min_rows" if survey.kept else f"{repair}, or the checks on them",
        least=checks.min_rows, severity=severity,
    )  # fmt: skip


def _judge_texts(survey: Survey, judge: Judge, profile: Profile, figures: dict[str, Any]) -> None:
    checks = survey.checks
    distinct, held, both = profile.distinct
    repeated = profile.rows - distinct
    judge.add(
        "few repeated texts", share(repeated, profile.rows),
        f"{told_share(repeated, profile.rows, ' texts')} repeat another",
        f"at most {checks.max_duplicates:.2%} repeated texts",
        "preprocess drops the repetitions; raise data.checks.max_duplicates if they are meant",
        most=checks.max_duplicates,
    )  # fmt: skip
    sample = profile.sample.texts
    broken = damaged(sample)
    figures["encoding_damage"] = {"sampled": len(sample), "damaged": len(broken), "examples": broken[:5]}
    judge.add(
        "little encoding damage", share(len(broken), len(sample)),
        told_share(len(broken), len(sample), " texts looked at")
        + (f", such as {broken[0]['text']!r} for {broken[0]['meant']!r}" if broken else ""),
        f"at most {checks.max_encoding_damage:.2%} of the texts damaged",
        "read the source in the encoding it was written in, or let preprocess.clean.repair undo it and raise "
        "data.checks.max_encoding_damage", most=checks.max_encoding_damage,
    )  # fmt: skip
    if checks.languages:
        found = languages(sample)
        figures["languages"] = found
        right = sum(count for language, count in found.items() if language in checks.languages)
        others = ", ".join(
            f"{language} {count}" for language, count in found.items() if language not in checks.languages
        )
        judge.add(
            "languages", share(right, len(sample)),
            told_share(right, len(sample), f" texts looked at in {', '.join(checks.languages)}")
            + (f"; others: {others}" if others else ""),
            f"at least {checks.min_language_share:.2%} in {', '.join(checks.languages)}",
            "remove what is in other languages, or name them in data.checks.languages", least=checks.min_language_share,
        )  # fmt: skip
    if survey.splits:
        figures["splits"] = dict(sorted(survey.splits.items()))
        figures["split_overlap"] = {"held_out_texts": held, "in_train_too": both}
        judge.add(
            "no split overlap", share(both, held),
            f"{told_share(both, held, ' validation and test texts')} are in train too",
            f"at most {checks.max_split_overlap:.2%} of them in train",
            "remove them from train, or raise data.checks.max_split_overlap", most=checks.max_split_overlap,
        )  # fmt: skip


def _judge_unique(survey: Survey, judge: Judge) -> None:
    for column, spool in survey.unique.items():
        values = distinct = 0
        for records in spool.parts():
            values, distinct = values + len(records), distinct + len(group_starts(records))
        judge.add(
            f"{column} unique", values - distinct, told_share(values - distinct, values, " values") + " repeat another",
            f"every value of column {column} in one row only",
            f"remove the rows that repeat, or set data.checks.columns.{survey.name}.{column}.unique to false",
            most=0, severity="critical",
        )  # fmt: skip


def _conclude_task(survey: Survey, task: TaskRows) -> dict[str, Any]:
    figures = task.labels.statistics()
    judge = Judge(survey.checks)
    if task.data.kind == "regression":
        _judge_numbers(task, judge)
    elif task.data.kind == "question_answering":
        _judge_spans(task, judge, figures)
    elif task.data.kind == "generation":
        _judge_targets(task, judge)
    else:
        _judge_labels(task, judge, figures)
    if survey.kept:
        survey.inspector.measure(f"task {task.name}", "rows together", judge.measures)
    return figures | {"label_column": task.data.label, "vocabulary": task.profile.statistics()["vocabulary"]}


def _judge_numbers(task: TaskRows, judge: Judge) -> None:
    numbers = sorted(task.labels.numbers)
    judge.add(
        "at least two labels", len(numbers), f"{numbers[0]:g} in every row" if numbers else "no number",
        "numbers that differ", f"check tasks.{task.name}.data.label and .where: there is nothing to learn from one "
        "number", least=2,
    )  # fmt: skip


def _judge_spans(task: TaskRows, judge: Judge, figures: dict[str, Any]) -> None:
    answered = figures["labels"].get(ANSWER, 0)
    judge.add(
        "some answers", answered, f"{answered:,} of {task.labels.rows:,} questions have an answer in their text",
        "at least one", f"check tasks.{task.name}.data.label: its column is empty in every row", least=1,
        severity="critical",
    )  # fmt: skip


def _judge_targets(task: TaskRows, judge: Judge) -> None:
    judge.add(
        "at least two labels", len(task.labels.codes), f"{len(task.labels.codes)}", "at least 2 distinct targets",
        f"check tasks.{task.name}.data.label and .where: there is nothing to learn from one text", least=2,
    )  # fmt: skip


def _judge_labels(task: TaskRows, judge: Judge, figures: dict[str, Any]) -> None:
    labels, checks = figures["labels"], judge.checks
    judge.add(
        "at least two labels", len(labels), f"{len(labels)}", "at least 2 distinct labels",
        f"check tasks.{task.name}.data.label and .where, or add rows of another label", least=2,
    )  # fmt: skip
    count = f"more than {len(labels):,}" if task.labels.too_many else f"{len(labels):,}"
    texts, several = figures["distinct_texts"], figures["texts_with_several_labels"]
    judge.add(
        "more texts than labels", 0 if task.labels.too_many else texts,
        f"{texts:,} distinct texts", f"more distinct texts than the {count} labels",
        f"add rows; or tasks.{task.name}.data.label names an identifier instead of a label", least=len(labels) + 1,
    )  # fmt: skip
    judge.add(
        "one label per text", share(several, texts), f"{told_share(several, texts, ' texts')} with more than one label",
        f"at most {checks.max_conflicting_labels:.2%} of the texts with more than one label",
        "relabel these texts, or raise data.checks.max_conflicting_labels", most=checks.max_conflicting_labels,
    )  # fmt: skip
    alike = kinds(labels)
    judge.add(
        "labels of one kind", len(alike), "; ".join(" and ".join(map(repr, group)) for group in alike[:5]) or "none",
        "no two labels that differ only in case, blanks or a decimal .0",
        f"write each label of column {task.data.label} in one way, or list those that count in "
        f"tasks.{task.name}.data.labels",
        most=0,
    )  # fmt: skip
    if task.data.kind == "classification":
        _judge_tags(task, judge, labels)
    _judge_rare_labels(judge, labels)


def _judge_tags(task: TaskRows, judge: Judge, labels: dict[str, int]) -> None:
    tags = [label for label in labels if TAGS.fullmatch(label)]
    told = f"{told_share(len(tags), len(labels), ' labels')} tag one word after another"
    judge.add(
        "labels of texts, not of words", share(len(tags), len(labels)),
        f"{told}, such as {tags[0][:60]!r}" if tags else told,
        "labels that each stand for a whole text",
        f"set tasks.{task.name}.data.kind: tagging, or name another column as tasks.{task.name}.data.label",
        most=MOST_TAGS, severity="critical",
    )  # fmt: skip


def _judge_rare_labels(judge: Judge, labels: dict[str, int]) -> None:
    least = judge.checks.min_rows_per_label
    rare = sorted((count, label) for label, count in labels.items() if count < least)
    told = told_share(len(rare), len(labels), " labels") + " have fewer"
    if rare:
        told += f": {', '.join(f'{label!r} {count:,}' for count, label in rare[:5])}"
        told += " and others" if len(rare) > 5 else ""
    judge.add(
        "enough rows per label", len(rare), told, f"at least {least} rows of every label",
        "add rows of the rare labels, or merge them into one", most=0,
    )  # fmt: skip
