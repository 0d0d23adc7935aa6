"""Stage 3: encode the rows of a block, pack them, and write its shards, its part of each task, and what it lost.

corpus/<split>/NNNNN-NNN.*.npy, tasks/<task>/<split>/NNNNN-NNN.*.npy    in the artifact
removed/NNNNN.parquet                                                   in the artifact: row_id, rule
work/parts/<task>/<split>/NNNNN.parquet                                 row_id, text, text_pair, label, group; of
                                                                        question_answering windows, of tagging words
work/groups/<split>/NNNNN.npy                                           of each document of the corpus its group's
                                                                        place, 0 for none
work/written/NNNNN.json                                                 what the index needs to know
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Preprocess, TaskData
from pipeline.data.answers import parse, words_of
from pipeline.data.spans import located
from pipeline.data.stages.blocks import Block, Plan
from pipeline.data.stages.deal import REMOVED
from pipeline.data.text.splits import SPLITS, TRAIN, VALIDATION
from pipeline.data.tokens.contexts import ContextEncoder
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.packing import cut, pack, pieces_of
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.sequences import SequenceEncoder
from pipeline.data.tokens.shards import write_shards
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.windows import windows
from pipeline.data.tokens.words import WordEncoder

PART = ("row_id", "text", "text_pair", "label", "group")


def write(config: Preprocess, seed: int, segments: int, plan: Plan, block: Block) -> None:
    """Write the shards and parts of a block, whose rows' fates `deal` and `sift` have saved as `corpus` and `tasks`.

    Args:
        config: Preprocess. Its `sequence_length` and `rows_per_shard`.
        seed: int. Of the order in which documents are packed.
        segments: int. Most texts of a task in a row.
        plan: Plan. The folders.
        block: Block. What to work on.
    """
    table = pq.read_table(plan.file("prepared", block, ".parquet"))
    encoder = _encoder(plan.out / "tokenizer.json")
    corpus, tasks = plan.load("corpus", block), plan.load("tasks", block)  # (rows,), (tasks, rows) int8
    needed = np.flatnonzero((corpus >= TRAIN) | (tasks >= TRAIN).any(axis=0))
    documents = _Documents(encoder, table, needed, plan.targets(block))
    packing = _Packing(config, (seed, block.number), encoder.vocabulary.pad, block)
    written: dict[str, Any] = {
        "corpus": {},
        "corpus_bytes": {},
        "corpus_documents": {},
        "tasks": {},
        "documents": {},
        "long": {},
        "cut_off": {},
    }
    for split in (TRAIN, VALIDATION):
        rows = np.flatnonzero(corpus == split)
        whole = documents.of_corpus(rows)
        pieces = cut(whole, config.sequence_length)
        written["corpus"][SPLITS[split]] = packing.write(pieces, plan.out / "corpus" / SPLITS[split])
        written["corpus_documents"][SPLITS[split]] = len(pieces)
        places = np.where(documents.grouped[rows], plan.load("places", block)[rows], np.uint64(0))
        plan.save(f"groups/{SPLITS[split]}", block, np.repeat(places, pieces_of(whole, config.sequence_length)))
        written["corpus_bytes"][SPLITS[split]] = documents.text_bytes(rows)
    for (name, data), fates in zip(plan.tasks.items(), tasks, strict=True):
        if data.source != block.source:
            continue
        shards = written["tasks"][name] = {}
        for split, split_name in enumerate(SPLITS):
            rows = np.flatnonzero(fates == split)
            learned = documents.of_task(data, rows, config.sequence_length)
            part = _part(table.take(rows), data, learned.windows)
            path = plan.work / "parts" / name / split_name / f"{block.name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, path)
            folder = plan.out / "tasks" / name / split_name
            shards[split_name] = packing.write(learned.documents, folder, segments, learned.owners)
            numbered = len(learned.documents) if learned.owners is None else len(rows)
            written["documents"][f"{name}/{split_name}"] = numbered
            lengths = learned.lengths[learned.lengths > config.sequence_length]
            written["long"].setdefault(name, []).append([len(lengths), int(lengths.max(initial=0))])
            if learned.cut_off is not None:
                written["cut_off"].setdefault(name, {})[split_name] = learned.cut_off
    _write_removed(table, corpus, plan.out / "removed" / f"{block.name}.parquet")
    plan.write_whole(plan.file("written", block, ".json"), lambda path: path.write_text(json.dumps(written)))


class _Documents:
    """The token ids of a block's rows, each row encoded once, whatever needs it."""

    def __init__(self, encoder: TextEncoder, table: pa.Table, rows: np.ndarray, targets: tuple[str, ...]) -> None:
        self.encoder = encoder
        self.table = table
        self.targets = targets
        self.cut_off: tuple[int, int] | None = None  # of the last task's sources and targets, where it writes
        self.texts = table["text"].combine_chunks()
        pairs = table["text_pair"].combine_chunks()
        self.pairs = pairs if pairs.null_count < len(pairs) else None
        self.grouped: np.ndarray = pc.is_valid(table["group"]).to_numpy()  # (rows,) bool
        self.documents = self._encode(rows)
        self.number = np.full(len(table), -1, np.int64)
        self.number[rows] = np.arange(len(rows))

    def whole(self, rows: np.ndarray) -> Ragged:
        """Return the documents of rows."""
        return self.documents.take(self.number[rows])

    def of_corpus(self, rows: np.ndarray) -> Ragged:
        """Return what is pretrained on: the documents of rows, and behind each what tasks are to write of it."""
        documents, sequences = self.whole(rows), SequenceEncoder(self.encoder)
        for column in self.targets:
            documents = sequences.behind(documents, self.table[column].combine_chunks().take(rows))
        return documents

    def text_bytes(self, rows: np.ndarray) -> int:
        """Return the UTF-8 bytes of the texts of rows, with all that `of_corpus` puts behind them."""
        columns = [self.texts] if self.pairs is None else [self.texts, self.pairs]
        columns += [self.table[column].combine_chunks() for column in self.targets]
        return sum(pc.sum(pc.binary_length(column.take(rows))).as_py() or 0 for column in columns)

    def truncated(self, rows: np.ndarray, length: int) -> Ragged:
        """Return the documents of rows, the longer ones cut off as the encoder does it."""
        if self.pairs is not None:
            return self._encode(rows, length)
        whole = self.whole(rows)
        return whole.slices(whole.offsets[:-1], np.minimum(whole.lengths, length))

    def of_task(self, data: TaskData, rows: np.ndarray, length: int) -> _Learned:
        """Return the documents that a task learns from, no longer than `length`."""
        whole = self.whole(rows).lengths
        pairs = None if self.pairs is None else self.pairs.take(rows)
        # Where the kind has a word of its own for long texts, they are counted only if the recipe wants none.
        long = whole if data.long_texts == "error" else np.zeros_like(whole)
        if data.kind == "question_answering":
            questions = pa.nulls(len(rows), pa.string()) if pairs is None else pairs
            asked = ContextEncoder(self.encoder).windows(self.texts.take(rows), questions, length)
            return _Learned(asked.documents, long, windows=np.bincount(asked.owners, minlength=len(rows)))
        if data.kind == "generation":
            targets = self.table[data.label].combine_chunks().take(rows)
            sequences = SequenceEncoder(self.encoder, data.prompt)
            documents, cut_off = sequences.sequences(self.texts.take(rows), pairs, targets, length)
            return _Learned(documents, long, cut_off=cut_off)
        if data.kind == "tagging":
            cut = WordEncoder(self.encoder).windows(self.texts.take(rows), length)
            first = np.flatnonzero(np.diff(cut.owners, prepend=-1))
            several = np.bincount(cut.owners, minlength=len(rows)) > 1
            return _Learned(cut.documents.take(first), np.where(several, np.maximum(whole, length + 1), 0))
        if data.long_texts == "slide":
            seen = windows(self.encoder, self.texts.take(rows), pairs, length)
            return _Learned(seen.documents, whole, seen.owners)
        return _Learned(self.truncated(rows, length), whole)

    def _encode(self, rows: np.ndarray, length: int | None = None) -> Ragged:
        pairs = None if self.pairs is None else self.pairs.take(rows)
        return self.encoder.encode(self.texts.take(rows), pairs, length)


@dataclass(frozen=True)
class _Learned:
    """What a task learns from.

    Attributes:
        documents: Ragged. Token ids.
        lengths: (rows,) int64. Tokens of each row's whole text.
        owners: (documents,) int64. The row that each document is numbered as; None: documents are numbered themselves.
        windows: (rows,) int64. Of question_answering, documents of each row.
        cut_off: (int, int). Of generation, sources and targets that were cut off.
    """

    documents: Ragged
    lengths: np.ndarray
    owners: np.ndarray | None = None
    windows: np.ndarray | None = None
    cut_off: tuple[int, int] | None = None


class _Packing:
    """Packs documents of a block and writes them as shards."""

    def __init__(self, config: Preprocess, seed: tuple[int, int], pad: int, block: Block) -> None:
        self.config = config
        self.seed = seed
        self.pad = pad
        self.block = block

    def write(
        self, documents: Ragged, folder: Path, max_segments: int | None = None, owners: np.ndarray | None = None
    ) -> list[dict[str, Any]]:
        """Write the documents' rows, by their owners' numbers; return what the index needs to know of each shard."""
        packed = pack(documents, self.config.sequence_length, self.seed, self.pad, max_segments)
        if owners is not None and len(owners):
            numbers = np.where(packed.documents < 0, -1, owners[packed.documents]).astype(np.int32)
            packed = replace(packed, documents=numbers)
        return [asdict(shard) for shard in write_shards(packed, folder, self.block.number, self.config.rows_per_shard)]


def _part(table: pa.Table, data: TaskData, windows: np.ndarray | None) -> pa.Table:
    """Return a task's rows; `windows` (rows,) is how many packed documents each became."""
    columns = {name: table[name] for name in PART if name != "label"}
    columns["label"] = parse(data, table[data.label].combine_chunks())
    if data.kind == "tagging":
        columns["words"] = pa.array([words_of(text) for text in table["text"].to_pylist()], pa.list_(pa.string()))
    if windows is not None:
        columns["label"] = located(columns["label"], table["text"])
        columns["windows"] = pa.array(windows, pa.int32())
    return pa.table(columns)


def _write_removed(table: pa.Table, corpus: np.ndarray, path: Path) -> None:
    rules = table["rule"].combine_chunks()
    for fate, rule in REMOVED.items():
        rules = pc.if_else(pa.array(corpus == fate), rule, rules)
    removed = pa.table({"row_id": table["row_id"], "rule": rules}).filter(pc.is_valid(rules))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(removed, path, compression="zstd")


@cache
def _encoder(path: Path) -> TextEncoder:
    return TextEncoder(load_tokenizer(path))
