"""Rows with their split: exact duplicates removed, and the labelled rows of a task chosen and dealt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Preprocess, TaskData
from pipeline.data.split import SPLITS, assign_splits
from pipeline.data.tokenizer import normalise
from pipeline.errors import SourceError, ValidationFailed


@dataclass(frozen=True)
class Example:
    """One row that survived deduplication; `label` is empty in the pretraining corpus."""

    row_id: str
    text: str
    group: str
    key: str
    split: str
    label: str = ""


@dataclass(frozen=True)
class TaskExamples:
    """The rows of one task by split, and what was left out."""

    rows: dict[str, list[Example]]
    labels: list[str]
    unseen: list[Example] = field(default_factory=list)
    duplicates: int = 0
    conflicts: int = 0


def corpus_examples(paths: Sequence[Path], config: Preprocess, evaluated: set[str]) -> tuple[list[Example], int, int]:
    """Return the distinct pretraining rows, how many repeated another, and how many were some task's evaluation text.

    Args:
        paths: sequence of Path. Validated rows, one file a source.
        config: Preprocess. Split and tokenizer normalisation.
        evaluated: set of str. Normalised texts that some task is judged on; no training row may equal one.
    """
    examples = [example for path in paths for example in _read(pq.read_table(path), config)]
    distinct, duplicates = _deduplicate(examples)
    kept = [example for example in distinct if example.split != "train" or example.key not in evaluated]
    return kept, duplicates, len(distinct) - len(kept)


def task_examples(name: str, path: Path, data: TaskData, config: Preprocess) -> TaskExamples:
    """Return the labelled rows of a task, dealt into splits.

    Of equal texts the first is kept. A validation or test row whose label no training row carries is set aside, since
    nothing could learn it.

    Raises:
        SourceError: a column that the task names does not exist.
        ValidationFailed: a split is empty, or the training rows carry fewer than two labels.
    """
    table = pq.read_table(path)
    for column in (data.label, *data.where):
        if column not in table.column_names:
            raise SourceError(
                f"tasks.{name}.data names column {column!r}, which source {data.source!r} lacks; "
                f"it has: {', '.join(table.column_names)}"
            )
    for column, value in data.where.items():
        table = table.filter(pc.equal(table[column], value))
    table = table.filter(pc.is_valid(table[data.label]))
    examples = _read(table, config, data.label)
    distinct, duplicates = _deduplicate(examples)
    labels_of: dict[str, set[str]] = {}
    for example in examples:
        labels_of.setdefault(example.key, set()).add(example.label)
    trained = {example.label for example in distinct if example.split == "train"}
    unseen = [example for example in distinct if example.label not in trained]
    rows = {split: [e for e in distinct if e.split == split and e.label in trained] for split in SPLITS}
    _check_splits(name, rows, trained)
    return TaskExamples(
        rows=rows,
        labels=sorted(trained),
        unseen=unseen,
        duplicates=duplicates,
        conflicts=sum(len(labels) > 1 for labels in labels_of.values()),
    )


def write_examples(examples: Sequence[Example], path: Path) -> None:
    """Write rows as Parquet: row_id, text, label, group."""
    columns = ("row_id", "text", "label", "group")
    table = pa.table({c: pa.array([getattr(e, c) for e in examples], pa.string()) for c in columns})
    pq.write_table(table, path)


def _read(table: pa.Table, config: Preprocess, label: str | None = None) -> list[Example]:
    texts = table["text"].to_pylist()
    keys = normalise(texts, config.tokenizer)
    groups = [group or key for group, key in zip(table["group"].to_pylist(), keys, strict=True)]
    splits = assign_splits(groups, config.split)
    labels = table[label].to_pylist() if label else [""] * len(texts)
    columns = zip(table["row_id"].to_pylist(), texts, groups, keys, splits, labels, strict=True)
    return [Example(*values) for values in columns]


def _deduplicate(examples: Sequence[Example]) -> tuple[list[Example], int]:
    """Return the first example of each key, and how many were dropped."""
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(example.key, example)
    return list(first.values()), len(examples) - len(first)


def _check_splits(name: str, rows: dict[str, list[Example]], trained: set[str]) -> None:
    counts = Counter({split: len(examples) for split, examples in rows.items()})
    if len(trained) < 2:
        raise ValidationFailed(
            f"task {name!r} has {len(trained)} label in its training rows ({', '.join(sorted(trained)) or 'none'}); "
            f"a classifier needs at least two. Check tasks.{name}.data.label and .where, or add data"
        )
    empty = [split for split in SPLITS if not counts[split]]
    if empty:
        raise ValidationFailed(
            f"task {name!r}: the split left no {' and no '.join(empty)} rows (train {counts['train']}, validation "
            f"{counts['validation']}, test {counts['test']}). Rows that share a group stay together: add rows or "
            "groups, raise preprocess.split.validation or .test, or set another preprocess.split.salt"
        )
