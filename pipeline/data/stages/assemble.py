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

from pipeline.data.answers import faults
from pipeline.data.stages.blocks import Plan
from pipeline.data.stages.deal import UNSEEN, UNUSABLE, Deal, TaskRows
from pipeline.data.text.splits import SPLITS
from pipeline.data.tokens.shards import Shard, write_index
from pipeline.errors import ValidationFailed
from pipeline.progress import Progress
from pipeline.store.files import Hasher

CHANGED = defaultdict(
    lambda: "cleaning changed their words", {"generation": "cleaning left nothing of what is to be written"}
)


def assemble_corpus(plan: Plan, written: Sequence[dict[str, Any]], sequence_length: int) -> tuple[int, int]:
    """Write the indexes of the corpus; return its tokens, and how many its rows could hold."""
    tokens = capacity = 0
    tokenizer = Hasher().sha256(plan.out / "tokenizer.json")
    for split in ("train", "validation"):
        shards = [Shard(**shard) for block in written for shard in block["corpus"][split]]
        write_index(shards, plan.out / "corpus" / split, sequence_length, tokenizer)
        tokens += sum(shard.tokens for shard in shards)
        capacity += sum(shard.rows for shard in shards) * sequence_length
    return tokens, capacity


def assemble_task(
    plan: Plan, name: str, task: TaskRows, written: Sequence[dict[str, Any]], sequence_length: int
) -> None:
    """Write a task's labels, its rows as text, and the indexes of its packed rows, whose documents are these rows."""
    folder = plan.out / "tasks" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(task.trained(), indent=2, ensure_ascii=False), encoding="utf-8")
    tokenizer = Hasher().sha256(plan.out / "tokenizer.json")
    for split in SPLITS:
        shards, first = [], 0
        for block in written:
            shards += [
                replace(Shard(**shard), first_document=first) for shard in block["tasks"].get(name, {}).get(split, ())
            ]
            first += block["rows"].get(f"{name}/{split}", 0)
        write_index(shards, folder / split, sequence_length, tokenizer)
        _merge(plan, sorted((plan.work / "parts" / name / split).glob("*.parquet")), folder / f"{split}.parquet")


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


def check_splits(name: str, task: TaskRows) -> None:
    """Raise unless a classifier can be trained and judged on the task's rows.

    Raises:
        ValidationFailed: a split is empty, or the training rows carry fewer than two labels.
    """
    trained = task.trained()
    if task.data.kind not in ("regression", "generation") and len(trained) < 2:
        raise ValidationFailed(
            f"task {name!r} has {len(trained)} label in its training rows ({', '.join(trained) or 'none'}); "
            f"a classifier needs at least two. Check tasks.{name}.data.label and .where, or add data"
        )
    counts = task.counts()
    if empty := [split for split in SPLITS if not counts[split]]:
        raise ValidationFailed(
            f"task {name!r}: the split left no {' and no '.join(empty)} rows (train {counts['train']}, validation "
            f"{counts['validation']}, test {counts['test']}). Rows that share a group stay together: add rows or "
            "groups, raise preprocess.split.validation or .test, or set another preprocess.split.salt"
        )


def _merge(plan: Plan, parts: Sequence[Path], path: Path) -> None:
    """Write the rows of the parts, in order, as one file, a part in memory at a time."""

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, pq.read_schema(parts[0])) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part))

    plan.write_whole(path, write)
