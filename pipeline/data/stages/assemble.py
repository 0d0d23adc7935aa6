"""After stage 3: the indexes over all blocks' shards, each task's rows in one file, and what was set aside."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.data.answers import CLASSES, faults
from pipeline.data.stages.blocks import Plan
from pipeline.data.stages.deal import UNSEEN, UNUSABLE, Deal, TaskRows
from pipeline.data.text.splits import SPLITS, TEST, TRAIN
from pipeline.data.tokens.groups import write_groups
from pipeline.data.tokens.shards import Shard, write_index
from pipeline.errors import ValidationFailed
from pipeline.progress import Progress
from pipeline.store.files import Hasher

NAMED = 5
CHANGED = defaultdict(
    lambda: "cleaning changed the words that their label is of",
    {"generation": "cleaning left nothing of what is to be written"},
)


def assemble_corpus(plan: Plan, written: Sequence[dict[str, Any]], sequence_length: int) -> tuple[int, int]:
    """Write the indexes and the groups of the corpus; return its tokens, and how many its rows could hold."""
    tokens = capacity = 0
    tokenizer = Hasher().sha256(plan.out / "tokenizer.json")
    for split in ("train", "validation"):
        shards, first = [], 0
        for block in written:
            shards += [replace(Shard(**shard), first_document=first) for shard in block["corpus"][split]]
            first += block["corpus_documents"][split]
        text_bytes = sum(block["corpus_bytes"][split] for block in written)
        write_index(shards, plan.out / "corpus" / split, sequence_length, tokenizer, text_bytes)
        write_groups(plan.out / "corpus" / split, [plan.load(f"groups/{split}", block) for block in plan.blocks])
        tokens += sum(shard.tokens for shard in shards)
        capacity += sum(shard.rows for shard in shards) * sequence_length
    return tokens, capacity


def assemble_task(
    plan: Plan, name: str, task: TaskRows, written: Sequence[dict[str, Any]], sequence_length: int
) -> int:
    """Write a task's labels, its rows as text, and the indexes of its packed rows; return how many documents they hold.

    The documents are the rows, in order; of question_answering the windows of the rows.
    """
    folder = plan.out / "tasks" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(task.trained(), indent=2, ensure_ascii=False), encoding="utf-8")
    tokenizer = Hasher().sha256(plan.out / "tokenizer.json")
    documents = 0
    for split in SPLITS:
        shards, first = [], 0
        for block in written:
            shards += [
                replace(Shard(**shard), first_document=first) for shard in block["tasks"].get(name, {}).get(split, ())
            ]
            first += block["documents"].get(f"{name}/{split}", 0)
        write_index(shards, folder / split, sequence_length, tokenizer)
        _merge(plan, sorted((plan.work / "parts" / name / split).glob("*.parquet")), folder / f"{split}.parquet")
        documents += first
    return documents


def long_texts(
    name: str, task: TaskRows, written: Sequence[dict[str, Any]], sequence_length: int, progress: Progress
) -> int:
    """Return how many texts of a task are longer than the model, and say what becomes of them.

    Raises:
        ValidationFailed: there are some, and the recipe wants none.
    """
    found = [counted for block in written for counted in block["long"].get(name, ())]
    number: int = sum(count for count, _ in found)
    longest = max((length for _, length in found), default=0)
    if not number:
        return 0
    told = (
        f"{number:,} texts of task {name!r} are longer than preprocess.sequence_length, {sequence_length} tokens (the "
        f"longest has {longest:,})"
    )
    if task.data.long_texts == "error":
        raise ValidationFailed(
            f"{told}, and tasks.{name}.data.long_texts is error. Raise preprocess.sequence_length and "
            "model.max_sequence_length, set long_texts to slide (read them in windows) or truncate (read their "
            "beginning), or shorten the texts"
        )
    fate = "read in windows" if task.data.long_texts == "slide" else "cut off"
    progress.say(f"{told}; they are {fate} (tasks.{name}.data.long_texts: {task.data.long_texts})")
    return number


def set_aside(plan: Plan, dealt: Deal, progress: Progress) -> Counter[str]:
    """Write the rows that a task cannot use to quarantine.jsonl, say how many, and return them by task."""
    path, counts, causes = plan.out / "quarantine.jsonl", Counter[str](), Counter[str]()
    with path.open("w", encoding="utf-8") as file:
        for name, task in dealt.tasks.items():
            for block in plan.blocks:
                rows = np.flatnonzero(np.isin(dealt.of(task.splits, block), (UNSEEN, UNUSABLE)))
                if not len(rows):
                    continue
                columns = ["row_id", "text", task.data.label]
                table = pq.read_table(plan.file("prepared", block, ".parquet"), columns=columns).take(rows)
                reasons = faults(task.data, table[task.data.label].combine_chunks(), table["text"].combine_chunks())
                places = [SPLITS[split] for split in dealt.of(dealt.splits, block)[rows]]
                for row, reason, split in zip(table.to_pylist(), reasons.to_pylist(), places, strict=True):
                    unseen = f"label {row[task.data.label]!r} is in the {split} split but in no training row"
                    entry = {"row_id": row["row_id"], "task": name, "reason": reason or unseen, "text": row["text"]}
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                    causes[CHANGED[task.data.kind] if reason else "no training row has their label"] += 1
                counts[name] += len(rows)
    for cause, number in causes.items():
        progress.say(f"{number} rows set aside because {cause}: {path}")
    return counts


def cut_off(name: str, written: Sequence[dict[str, Any]], progress: Progress) -> dict[str, int]:
    """Return how many sources and targets of a task that writes are longer than a row, and say so; {} of others."""
    counts = [cut for block in written for cut in block["cut_off"].get(name, {}).values()]
    if not counts:
        return {}
    sources, targets = (sum(cut[side] for cut in counts) for side in (0, 1))
    if sources or targets:
        progress.say(
            f"task {name}: {sources} sources and {targets} targets are longer than a row holds and are cut off; raise "
            "preprocess.sequence_length to keep them whole"
        )
    return {"cut_off_sources": sources, "cut_off_targets": targets}


def check_splits(name: str, task: TaskRows, progress: Progress) -> None:
    """Raise unless the task can be learned and judged from its rows; tell the classes that no test row carries.

    Raises:
        ValidationFailed: a split is empty, the training rows hold nothing to tell apart, or lack a class that the
            recipe names.
    """
    trained, counts = task.trained(), task.counts()
    at_fault = f"Check tasks.{name}.data.label and .where, or add data"
    if task.data.kind in CLASSES and len(trained) < 2:
        raise ValidationFailed(
            f"task {name!r} has {len(trained)} label in its training rows ({', '.join(trained) or 'none'}); "
            f"a classifier needs at least two. {at_fault}"
        )
    if task.data.kind == "question_answering" and not task.answered():
        raise ValidationFailed(
            f"task {name!r} has no answer in its training rows; expected some questions that their text answers. Check "
            f"tasks.{name}.data.label, or set another preprocess.split.salt"
        )
    if empty := [split for split in SPLITS if not counts[split]]:
        raise ValidationFailed(
            f"task {name!r}: the split left no {' and no '.join(empty)} rows (train {counts['train']}, validation "
            f"{counts['validation']}, test {counts['test']}). Rows that share a group stay together: add rows or "
            "groups, raise preprocess.split.validation or .test, or set another preprocess.split.salt"
        )
    if task.data.kind == "regression" and len(numbers := set(task.answers(TRAIN).to_pylist())) < 2:
        raise ValidationFailed(
            f"task {name!r} has the same number, {next(iter(numbers)):g}, in all its {counts['train']} training rows; "
            f"expected numbers that differ. {at_fault}"
        )
    if absent := sorted(set(task.data.labels or ()) - set(trained)):
        raise ValidationFailed(
            f"task {name!r}: no training row carries {_some(absent)}, which tasks.{name}.data.labels names; a model "
            "cannot learn a class that it never sees. Add rows of it, or take it off the list"
        )
    if untested := sorted(set(trained) - set(task.classes(TEST))):
        progress.say(
            f"task {name!r}: no test row carries {_some(untested)}, {len(untested)} of {len(trained)} classes; they "
            "are learned and not judged"
        )


def _some(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels[:NAMED])) + (" and others" if len(labels) > NAMED else "")


def _merge(plan: Plan, parts: Sequence[Path], path: Path) -> None:
    """Write the rows of the parts, in order, as one file, a part in memory at a time."""

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, pq.read_schema(parts[0])) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part))

    plan.write_whole(path, write)
