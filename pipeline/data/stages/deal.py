"""Between stages 1 and 2, over all blocks at once: the split of every row, and which of equal rows stays.

What is held in memory is a few bytes a row. Equal texts are found a part of the keys at a time, so that sorting them
needs no more memory for more rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Preprocess, Split, TaskData
from pipeline.data.answers import CLASSES, PLACED, classes_of, faults, parse
from pipeline.data.stages.blocks import Block, Plan
from pipeline.data.text.duplicates import first_of_equal, keys
from pipeline.data.text.splits import SPLITS, TEST, TRAIN, assign_at
from pipeline.errors import SourceError

# What became of a row in the corpus, where it is not its split.
ELSEWHERE, FILTERED, EVALUATED, DUPLICATE, OVERLAP, NEAR_DUPLICATE, HELD_OUT = -1, -2, -3, -4, -5, -6, -7
REMOVED = {
    EVALUATED: "equals a text that a task is judged on",
    DUPLICATE: "duplicate",
    OVERLAP: "overlaps a text that a task is judged on",
    NEAR_DUPLICATE: "near duplicate",
    HELD_OUT: "held out with its group",
}
# Of a task: not one of its rows, or a duplicate, or with a label that no training row has, or one that, its text being
# cleaned, can no longer be used.
ABSENT, REPEATED, UNSEEN, UNUSABLE = -1, -2, -3, -4
KEYS_PER_PART = 4_000_000


@dataclass
class TaskRows:
    """The rows of one task.

    Attributes:
        data: TaskData. What the task's rows are.
        splits: (rows,) int8. Of all blocks' rows; negative where a row is not used.
        codes: (rows,) int32. Number of the answer in `labels`, of texts a hash; -1 where there is none.
        labels: list of str. Every answer as it stands in the source, in the order of first appearance; no texts.
        conflicts: int. Texts that carry more than one answer.
    """

    data: TaskData
    splits: np.ndarray
    codes: np.ndarray
    labels: list[str]
    conflicts: int = 0

    def trained(self) -> list[str]:
        """Return the classes or tags that training rows carry, sorted; of other kinds none."""
        return self.classes(TRAIN)

    def classes(self, split: int) -> list[str]:
        """Return the classes or tags that the rows of a split carry, sorted; of other kinds none."""
        return sorted(pc.unique(classes_of(self.answers(split))).to_pylist()) if self.data.kind in CLASSES else []

    def answers(self, split: int) -> pa.Array:
        """Return the answers of a split, typed, each at least once and fewer times than there are rows."""
        return self._parsed([self.labels[code] for code in np.unique(self.codes[self.splits == split])])

    def answered(self) -> bool:
        """Return whether a training row of question_answering has an answer."""
        return len(self.answers(TRAIN).flatten()) > 0

    def answerable(self) -> np.ndarray:
        """Return which rows have an answer that can be learned, (rows,) bool: each class of it is a training row's."""
        if self.data.kind not in CLASSES:
            return self.codes >= 0
        answers = self._parsed(self.labels)
        unknown = pc.invert(pc.is_in(classes_of(answers), pa.array(self.trained(), pa.string())))
        counted = np.concatenate([[0], np.cumsum(unknown.to_numpy(zero_copy_only=False))])
        sizes = pc.fill_null(pc.list_value_length(answers), 0) if pa.types.is_list(answers.type) else None
        ends = np.arange(len(answers) + 1) if sizes is None else np.concatenate([[0], np.cumsum(sizes.to_numpy())])
        able = np.diff(counted[ends]) == 0
        return np.where(self.codes >= 0, able[self.codes], False)

    def _parsed(self, labels: list[str]) -> pa.Array:
        return parse(self.data, pa.array(labels, pa.string()))

    def rows(self) -> int:
        """Return how many rows are used."""
        return int((self.splits >= TRAIN).sum())

    def counts(self) -> dict[str, int]:
        """Return how many rows each split has, and of what else there is how many."""
        counts = {name: int((self.splits == split).sum()) for split, name in enumerate(SPLITS)}
        return counts | {
            "classes": len(self.trained()),
            "duplicates": int((self.splits == REPEATED).sum()),
            "conflicting_texts": self.conflicts,
        }


@dataclass
class Deal:
    """Where every row goes; rows are counted over all blocks.

    Attributes:
        starts: (blocks + 1,) int64. First row of each block.
        splits: (rows,) int8. The split of each row.
        corpus: (rows,) int8. The split of the rows that are pretrained on, else what became of them.
        tasks: dict of str to TaskRows. By name.
    """

    starts: np.ndarray
    splits: np.ndarray
    corpus: np.ndarray
    tasks: dict[str, TaskRows] = field(default_factory=dict)

    def of(self, values: np.ndarray, block: Block) -> np.ndarray:
        """Return the part of an array over all rows that belongs to a block."""
        part: np.ndarray = values[self.starts[block.number] : self.starts[block.number + 1]]
        return part


def deal(plan: Plan, config: Preprocess) -> Deal:
    """Return where every prepared row goes, near duplicates and overlaps not yet considered.

    Of equal texts the test row stays before the validation row before the training row, then the first: what a task is
    judged on is the same whatever else there is, and is not trained on.

    Raises:
        SourceError: a value of the split's column cannot be read.
    """
    starts = np.cumsum([0, *(len(plan.load("places", block)) for block in plan.blocks)])
    splits = np.concatenate([np.empty(0, np.int8), *_splits(plan, config)])
    dealt = Deal(starts, splits, np.full(len(splits), ELSEWHERE, np.int8))
    dealt.tasks = {name: _task_rows(plan, dealt, data) for name, data in plan.tasks.items()}
    for block in plan.blocks:
        if block.in_corpus:
            rules = pq.read_table(plan.file("prepared", block, ".parquet"), columns=["rule"])["rule"]
            sound = pc.is_null(rules).to_numpy()
            dealt.of(dealt.corpus, block)[:] = np.where(sound, dealt.of(splits, block), FILTERED)
    for rows, own in _key_parts(plan, dealt):
        _deduplicate(dealt, rows, own)
    dealt.corpus[dealt.corpus == TEST] = HELD_OUT
    for task in dealt.tasks.values():
        task.splits[(task.splits > TRAIN) & ~task.answerable()] = UNSEEN
    return dealt


def _deduplicate(dealt: Deal, rows: np.ndarray, keys: np.ndarray) -> None:
    """Mark what is there already among rows (n,) of all, with their keys (n, 2)."""
    judged = np.zeros(len(rows), bool)
    for task in dealt.tasks.values():
        present = np.flatnonzero(task.splits[rows] >= TRAIN)
        mine = rows[present]
        task.conflicts += _conflicts(keys[present], task.codes[mine])
        kept = first_of_equal(keys[present], task.splits[mine])
        task.splits[mine[~kept]] = REPEATED
        judged |= task.splits[rows] > TRAIN
    forbidden = np.isin(keys[:, 0], keys[judged, 0])
    corpus = dealt.corpus[rows]
    corpus[(corpus == TRAIN) & forbidden] = EVALUATED
    present = np.flatnonzero(corpus >= TRAIN)
    corpus[present[~first_of_equal(keys[present], corpus[present])]] = DUPLICATE
    dealt.corpus[rows] = corpus


def _conflicts(keys: np.ndarray, codes: np.ndarray) -> int:
    """Return how many keys come with more than one label."""
    order = np.lexsort((codes, keys[:, 1], keys[:, 0]))
    same_key = (keys[order][1:] == keys[order][:-1]).all(axis=1)
    changes = same_key & (codes[order][1:] != codes[order][:-1])
    key_number = np.concatenate([[0], np.cumsum(~same_key)])
    return len(np.unique(key_number[1:][changes]))


def _key_parts(plan: Plan, dealt: Deal) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of each part of all keys, (n,), in order, and their keys, (n, 2); equal keys share a part."""
    parts = max(1, -(-len(dealt.splits) // KEYS_PER_PART))
    for part in range(parts):
        rows, keys = [np.empty(0, np.int64)], [np.empty((0, 2), np.uint64)]
        for block in plan.blocks:
            found = plan.load("keys", block)
            chosen = np.flatnonzero(found[:, 1] % np.uint64(parts) == part)
            rows.append(chosen + dealt.starts[block.number])
            keys.append(found[chosen])
        yield np.concatenate(rows), np.concatenate(keys)


def _splits(plan: Plan, config: Preprocess) -> Iterator[np.ndarray]:
    """Yield the splits of the rows of each source, or of each block where that is the same.

    Text that no task uses is dealt by hash where it has not the column of the split, and none of it is kept for a test
    but what shares a group, which may be another source's too.
    """
    by_hash = Split(validation=config.split.validation, test=config.split.test, salt=config.split.salt)
    for source in dict.fromkeys(block.source for block in plan.blocks):
        blocks = [block for block in plan.blocks if block.source == source]
        judged = any(data.source == source for data in plan.tasks.values())
        method, column = config.split.method, config.split.column or "split"
        if method == "hash" or not (_has(plan, blocks, column) or (judged and method != "auto")):
            for block in blocks:
                splits = assign_at(by_hash, plan.load("places", block))
                yield splits if judged else np.where(_alone(plan, block) & (splits == TEST), TRAIN, splits)
            continue
        places = np.concatenate([plan.load("places", block) for block in blocks])
        tables = [
            pq.read_table(plan.file("prepared", block, ".parquet"), columns=["row_id", column]) for block in blocks
        ]
        whole = pa.concat_tables(tables)
        yield assign_at(config.split, places, whole[column], whole["row_id"])


def _has(plan: Plan, blocks: list[Block], column: str) -> bool:
    """Return whether any row of the blocks has a value in the column that the split goes by."""
    for block in blocks:
        path = plan.file("prepared", block, ".parquet")
        if column in pq.read_schema(path).names:
            values = pq.read_table(path, columns=[column])[column]
            if values.null_count < len(values):
                return True
    return False


def _alone(plan: Plan, block: Block) -> np.ndarray:
    """Return which rows share no group, (rows,) bool: of text that no task is judged on, none need be held out."""
    groups = pq.read_table(plan.file("prepared", block, ".parquet"), columns=["group"])["group"]
    alone: np.ndarray = pc.is_null(groups).to_numpy()
    return alone


def _task_rows(plan: Plan, dealt: Deal, data: TaskData) -> TaskRows:
    task = TaskRows(data, np.full_like(dealt.splits, ABSENT), np.full(len(dealt.splits), -1, np.int32), [])
    numbers: dict[str, int] = {}
    for block in plan.blocks:
        if block.source != data.source:
            continue
        columns = list(dict.fromkeys(["row_id", "text", data.label, *data.where]))
        table = pq.read_table(plan.file("prepared", block, ".parquet"), columns=columns)
        texts, labels = table["text"].combine_chunks(), table[data.label].combine_chunks()
        chosen = pc.not_equal(pc.utf8_trim_whitespace(texts), "")
        for column, value in data.where.items():
            chosen = pc.and_(chosen, pc.fill_null(pc.equal(table[column].combine_chunks(), value), False))
        sound = pc.is_null(faults(data, labels, texts))
        used = pc.and_(chosen, sound)
        mask = used.to_numpy(zero_copy_only=False)
        codes = (_hashes(labels) if data.kind == "generation" else _numbered(labels, numbers))[mask]
        dealt.of(task.codes, block)[mask] = codes
        dealt.of(task.splits, block)[mask] = dealt.of(dealt.splits, block)[mask]
        if data.kind in PLACED:
            lost = pc.and_(chosen, pc.invert(sound)).to_numpy(zero_copy_only=False)
            dealt.of(task.splits, block)[lost] = UNUSABLE
    if not (task.codes >= 0).any():
        raise SourceError(f"no row of source {data.source!r} has a value in column {data.label!r}; name another label")
    task.labels = list(numbers)
    return task


def _numbered(labels: pa.Array, numbers: dict[str, int]) -> np.ndarray:
    """Return the number of each answer, (rows,) int32; new ones are numbered on in `numbers`."""
    coded = pc.fill_null(labels, "").dictionary_encode()
    known = [numbers.setdefault(label, len(numbers)) for label in coded.dictionary.to_pylist()]
    found: np.ndarray = np.array(known, np.int32)[coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)]
    return found


def _hashes(targets: pa.Array) -> np.ndarray:
    """Return a hash of each text, (rows,) int32, not negative: nearly all differ, so a list of them would hold all."""
    found: np.ndarray = (keys(pc.fill_null(targets, ""))[:, 0] >> np.uint64(33)).astype(np.int32)
    return found
