"""Stage 3: encode the rows of a block, pack them, and write its shards, its part of each task, and what it lost.

corpus/<split>/NNNNN-NNN.*.npy, tasks/<task>/<split>/NNNNN-NNN.*.npy    in the artifact
removed/NNNNN.parquet                                                   in the artifact: row_id, rule
work/parts/<task>/<split>/NNNNN.parquet                                 row_id, text, text_pair, label, group
work/written/NNNNN.json                                                 what the index needs to know
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Preprocess, TaskData
from pipeline.data.answers import parse, words_of
from pipeline.data.stages.blocks import Block, Plan
from pipeline.data.stages.deal import REMOVED
from pipeline.data.text.splits import SPLITS, TRAIN, VALIDATION
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.packing import cut, pack
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.shards import write_shards
from pipeline.data.tokens.tokenizer import load_tokenizer
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
    documents = _Documents(encoder, table, needed)
    packing = _Packing(config, (seed, block.number), encoder.vocabulary.pad, block)
    written: dict[str, Any] = {"corpus": {}, "tasks": {}, "rows": {}}
    for split in (TRAIN, VALIDATION):
        pieces = cut(documents.whole(np.flatnonzero(corpus == split)), config.sequence_length)
        written["corpus"][SPLITS[split]] = packing.write(pieces, plan.out / "corpus" / SPLITS[split])
        written["rows"][SPLITS[split]] = int((corpus == split).sum())
    for (name, data), fates in zip(plan.tasks.items(), tasks, strict=True):
        if data.source != block.source:
            continue
        shards = written["tasks"][name] = {}
        for split, split_name in enumerate(SPLITS):
            rows = np.flatnonzero(fates == split)
            _write_part(table, rows, data, plan.work / "parts" / name / split_name / f"{block.name}.parquet")
            kept = documents.of_task(data, rows, config.sequence_length)
            shards[split_name] = packing.write(kept, plan.out / "tasks" / name / split_name, segments)
            written["rows"][f"{name}/{split_name}"] = len(rows)
    _write_removed(table, corpus, plan.out / "removed" / f"{block.name}.parquet")
    plan.write_whole(plan.file("written", block, ".json"), lambda path: path.write_text(json.dumps(written)))


class _Documents:
    """The token ids of a block's rows, each row encoded once, whatever needs it."""

    def __init__(self, encoder: TextEncoder, table: pa.Table, rows: np.ndarray) -> None:
        self.encoder = encoder
        self.texts = table["text"].combine_chunks()
        pairs = table["text_pair"].combine_chunks()
        self.pairs = pairs if pairs.null_count < len(pairs) else None
        self.documents = self._encode(rows)
        self.number = np.full(len(table), -1, np.int64)
        self.number[rows] = np.arange(len(rows))

    def whole(self, rows: np.ndarray) -> Ragged:
        """Return the documents of rows."""
        return self.documents.take(self.number[rows])

    def truncated(self, rows: np.ndarray, length: int) -> Ragged:
        """Return the documents of rows, the longer ones cut off as the encoder does it."""
        if self.pairs is not None:
            return self._encode(rows, length)
        whole = self.whole(rows)
        return whole.slices(whole.offsets[:-1], np.minimum(whole.lengths, length))

    def of_task(self, data: TaskData, rows: np.ndarray, length: int) -> Ragged:
        """Return the documents that a task learns from, cut off."""
        if data.kind == "tagging":
            return WordEncoder(self.encoder).encode(self.texts.take(rows), length).documents
        return self.truncated(rows, length)

    def _encode(self, rows: np.ndarray, length: int | None = None) -> Ragged:
        pairs = None if self.pairs is None else self.pairs.take(rows)
        return self.encoder.encode(self.texts.take(rows), pairs, length)


class _Packing:
    """Packs documents of a block and writes them as shards."""

    def __init__(self, config: Preprocess, seed: tuple[int, int], pad: int, block: Block) -> None:
        self.config = config
        self.seed = seed
        self.pad = pad
        self.block = block

    def write(self, documents: Ragged, folder: Path, max_segments: int | None = None) -> list[dict[str, Any]]:
        """Write the documents' rows; return what the index needs to know of each shard."""
        packed = pack(documents, self.config.sequence_length, self.seed, self.pad, max_segments)
        return [asdict(shard) for shard in write_shards(packed, folder, self.block.number, self.config.rows_per_shard)]


def _write_part(table: pa.Table, rows: np.ndarray, data: TaskData, path: Path) -> None:
    table = table.take(rows)
    columns = {name: table[name] for name in PART if name != "label"}
    columns["label"] = parse(data, table[data.label].combine_chunks())
    if data.kind == "tagging":
        columns["words"] = pa.array([words_of(text) for text in table["text"].to_pylist()], pa.list_(pa.string()))
    part = pa.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(part, path)


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
