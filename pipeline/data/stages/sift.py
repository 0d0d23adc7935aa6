"""Stage 2: find what nearly repeats another text of the corpus, and what overlaps a text that a task is judged on.

bands/NNNNN.npy      (bands, rows) uint64. Near duplicates agree in one; rows of the corpus only
long/NNNNN.npy       (rows,) bool. Texts that are long enough to take part
overlap/NNNNN.npy    (rows,) bool. Training texts that share an n-gram with an evaluation text
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Preprocess
from pipeline.data.engine import Engine
from pipeline.data.stages.blocks import Block, Plan
from pipeline.data.stages.deal import NEAR_DUPLICATE, OVERLAP, Deal
from pipeline.data.stages.prepare import normal_texts
from pipeline.data.text.duplicates import band_keys, choose_bands, clusters
from pipeline.data.text.overlap import EvaluationNgrams
from pipeline.data.text.splits import TRAIN
from pipeline.data.text.words import even, normalise
from pipeline.progress import Progress


def sift(plan: Plan, config: Preprocess, dealt: Deal, engine: Engine, progress: Progress) -> None:
    """Mark overlaps and near duplicates in `dealt.corpus`."""
    rules = config.deduplicate
    if rules.near is None and rules.evaluation_ngram is None:
        return
    blocks = [block for block in plan.blocks if block.in_corpus]
    for block in blocks:
        plan.save("dealt", block, dealt.of(dealt.corpus, block))
    ngrams = plan.work / "ngrams"
    if rules.evaluation_ngram is not None and not ngrams.exists():
        unfinished = plan.work / "ngrams.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        EvaluationNgrams.of(_evaluation_texts(plan, config, dealt), rules.evaluation_ngram).save(unfinished)
        unfinished.rename(ngrams)
    plan.run(engine, "sift", partial(_sift_block, config), blocks, progress)
    for block in blocks:
        corpus = dealt.of(dealt.corpus, block)
        if rules.evaluation_ngram is not None:
            corpus[np.flatnonzero(corpus >= TRAIN)[plan.load("overlap", block)]] = OVERLAP
    if rules.near is not None:
        _mark_near_duplicates(plan, config, dealt, blocks)


def _sift_block(config: Preprocess, plan: Plan, block: Block) -> None:
    rules = config.deduplicate
    dealt = plan.load("dealt", block)
    rows = np.flatnonzero(dealt >= TRAIN)
    normal = _normal(plan, block, config, rows)
    if rules.evaluation_ngram is not None:
        known = EvaluationNgrams.load(plan.work / "ngrams")
        found = known.matches(normal)
        for targets in _targets(plan, block, config, rows):
            found = found | known.matches(targets)
        plan.save("overlap", block, found & (dealt[rows] == TRAIN))
    if rules.near is not None:
        bands, long = band_keys(normal, rules.near)
        plan.save("bands", block, np.ascontiguousarray(bands.T))
        plan.save("long", block, long)


def _mark_near_duplicates(plan: Plan, config: Preprocess, dealt: Deal, blocks: list[Block]) -> None:
    near = config.deduplicate.near
    assert near is not None
    # The rows that have bands: those that were in the corpus before overlaps were marked.
    rows = np.concatenate(
        [np.empty(0, np.int64)]
        + [np.flatnonzero(plan.load("dealt", block) >= TRAIN) + dealt.starts[block.number] for block in blocks]
    )
    corpus = dealt.corpus[rows]
    taking = np.concatenate([np.empty(0, bool), *(plan.load("long", block) for block in blocks)]) & (corpus >= TRAIN)
    number, _ = choose_bands(near.threshold, near.num_hashes)
    columns = (
        np.concatenate([np.empty(0, np.uint64), *(plan.load("bands", block)[band] for block in blocks)])
        for band in range(number)
    )
    standing = clusters(columns, taking, corpus)
    corpus[standing != np.arange(len(rows))] = NEAR_DUPLICATE
    dealt.corpus[rows] = corpus


def _evaluation_texts(plan: Plan, config: Preprocess, dealt: Deal) -> Iterator[pa.Array]:
    """Yield the normalised validation and test texts of all tasks, and those to be written, block by block."""
    for block in plan.blocks:
        judged = np.zeros(len(dealt.of(dealt.splits, block)), bool)
        for task in dealt.tasks.values():
            judged |= dealt.of(task.splits, block) > TRAIN
        if judged.any():
            yield _normal(plan, block, config, np.flatnonzero(judged))
            yield from _targets(plan, block, config, np.flatnonzero(judged))


def _normal(plan: Plan, block: Block, config: Preprocess, rows: np.ndarray) -> pa.Array:
    table = pq.read_table(plan.file("prepared", block, ".parquet"), columns=["text", "text_pair"]).take(rows)
    texts, pairs = (table[name].combine_chunks() for name in ("text", "text_pair"))
    return even(normal_texts(texts, pairs, config))  # a second text begins a new word


def _targets(plan: Plan, block: Block, config: Preprocess, rows: np.ndarray) -> Iterator[pa.Array]:
    """Yield the normalised texts of each column that is to be written."""
    columns = list(plan.targets(block))
    table = pq.read_table(plan.file("prepared", block, ".parquet"), columns=columns).take(rows) if columns else {}
    for column in columns:
        yield even(normalise(pc.fill_null(table[column].combine_chunks(), ""), config.tokenizer.lowercase))
