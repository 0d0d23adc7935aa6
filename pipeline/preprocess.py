"""Step `preprocess`: sound rows become a tokenizer, packed token shards to pretrain on, and labelled ones per task.

    tokenizer.json
    clean.json                       what was repaired and redacted, which a model has to do with the texts it is asked
    corpus/{train,validation}/       packed rows of the pretraining corpus; groups.npy, of each document its group
    tasks/<task>/labels.json         the classes, sorted
    tasks/<task>/<split>.parquet     the rows as text, for baselines and evaluation
    tasks/<task>/<split>/            the same rows packed, for fine-tuning
    removed/*.parquet                every row that the corpus lost, and to which rule
    quarantine.jsonl                 rows whose label no training row carries

It works on blocks of rows, each one file of `validate`, in three stages with a look at all blocks between them:

1. `prepare`: texts repaired, filtered, given their keys.  Then `deal`: splits; of equal texts one stays.
2. `sift`: near duplicates, and overlap with what tasks are judged on.  Then the tokenizer is trained.
3. `write`: texts encoded, packed, written.  Then the indexes, which make the shards readable.

Leakage rule: rows of one group (`sources.*.group`; equal texts where there is none) share a split; nothing from a
validation or test group, and no text equal to one that a task is judged on or holding a long stretch of it, is trained
on, in pretraining either.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from pipeline.config import Recipe
from pipeline.config import Tokenizer as TokenizerConfig
from pipeline.data.engine import make_engine
from pipeline.data.stages.assemble import (
    assemble_corpus,
    assemble_task,
    check_splits,
    cut_off,
    long_texts,
    set_aside,
)
from pipeline.data.stages.blocks import Plan
from pipeline.data.stages.deal import DUPLICATE, EVALUATED, FILTERED, HELD_OUT, NEAR_DUPLICATE, OVERLAP, Deal, deal
from pipeline.data.stages.prepare import prepare
from pipeline.data.stages.sift import sift
from pipeline.data.stages.write import write
from pipeline.data.text.splits import TRAIN
from pipeline.data.tokens.tokenizer import load_tokenizer, make_tokenizer, require_same_tokenizer
from pipeline.errors import ValidationFailed
from pipeline.presets.fetch import prove_tokenizer
from pipeline.presets.folder import is_fetched
from pipeline.progress import Progress

PROOF_BLOCKS, PROOF_ROWS = 8, 500


@dataclass(frozen=True)
class PreprocessResult:
    """Counts of what was kept, changed, removed and written.

    `cleaned` counts texts by the repair that changed them, `corpus_filtered` documents by the rule that dropped them.
    """

    vocabulary_size: int
    corpus_rows: int
    corpus_tokens: int
    corpus_duplicates: int
    corpus_near_duplicates: int
    corpus_removed_as_evaluated: int
    corpus_overlaps: int
    corpus_held_out: int
    corpus_filtered: dict[str, int]
    cleaned: dict[str, int]
    packing_efficiency: float
    tasks: dict[str, dict[str, int]]


def preprocess(
    recipe: Recipe, rows: Path, out: Path, progress: Progress, start: Path | None = None
) -> PreprocessResult:
    """Write the tokenizer, the packed corpus and the packed tasks into `out`.

    Args:
        recipe: Recipe. Its `seed`, `data.corpus`, `preprocess`, `tasks.*.data` and `runtime`.
        rows: Path. The artifact of `validate`.
        out: Path. Folder to write into; what an earlier attempt finished in it is kept.
        progress: Progress. Counts blocks, per stage.
        start: Path or None. The backbone that pretraining starts from, whose tokenizer this is.

    Raises:
        SourceError: a column that a task or the split names does not exist, or holds values that it must not.
        RecipeError: the given tokenizer is none, or not the one of `start`; the corpus is too small for the tokenizer
            asked for; the tokenizer of a preset was not converted rightly.
        ValidationFailed: the corpus is empty, a task has an empty split or nothing to tell apart, lacks a class that
            it names, or has texts longer than the model where it wants none.
    """
    config = recipe.preprocess
    plan = Plan.of(recipe, rows / "rows", out)
    if start and config.tokenizer.kind == "file":
        require_same_tokenizer(make_tokenizer((), config.tokenizer), start)
    engine = make_engine(recipe.runtime, out, plan.bytes)

    plan.run(engine, "prepare", partial(prepare, config), plan.blocks, progress)
    preset = start if start and is_fetched(start) else None
    if preset:
        prove_tokenizer(preset, _sample(plan))
    dealt = deal(plan, config)
    for name, task in dealt.tasks.items():
        check_splits(name, task, progress)

    sift(plan, config, dealt, engine, progress)
    for block in plan.blocks:
        plan.save("corpus", block, dealt.of(dealt.corpus, block))
        plan.save("tasks", block, np.stack([dealt.of(task.splits, block) for task in dealt.tasks.values()]))
    tokenizer_file = out / "tokenizer.json"
    if not tokenizer_file.exists():
        tokenizer = _tokenizer(plan, dealt, config.tokenizer, start, progress)
        plan.write_whole(tokenizer_file, lambda path: tokenizer.save(str(path)))

    (out / "clean.json").write_text(config.clean.model_dump_json(indent=2))
    # A cap on segments keeps the classifier's pooling matrix small when texts are very short.
    segments = max(1, config.sequence_length // 4) if preset is None else 1
    plan.run(engine, "write", partial(write, config, recipe.seed, segments), plan.blocks, progress)
    written = [json.loads(plan.file("written", block, ".json").read_text()) for block in plan.blocks]
    length = config.sequence_length
    long = {name: long_texts(name, task, written, length, progress) for name, task in dealt.tasks.items()}
    tokens, capacity = assemble_corpus(plan, written, config.sequence_length)
    for name, task in dealt.tasks.items():
        documents, rows_used = assemble_task(plan, name, task, written, config.sequence_length), task.rows()
        if documents > rows_used:
            progress.say(
                f"{name}: {rows_used:,} rows in {documents:,} windows, since not every text fits into "
                f"preprocess.sequence_length ({config.sequence_length}) tokens together with its question"
            )
    aside = set_aside(plan, dealt, progress)
    cut = {name: cut_off(name, written, progress) for name in dealt.tasks}
    result = _result(
        plan, dealt, tokens, capacity, aside, {name: {"long_texts": long[name]} | cut[name] for name in cut}
    )
    shutil.rmtree(plan.work)
    return result


def _tokenizer(plan: Plan, dealt: Deal, config: TokenizerConfig, start: Path | None, progress: Progress) -> Tokenizer:
    """Return the tokenizer that the recipe asks for; with a backbone to start from, it must be that backbone's."""
    if start and config.kind == "start":
        progress.say(f"tokenizer: that of {start}")
        return load_tokenizer(start / "tokenizer.json")
    progress.say(f"tokenizer: {config.kind}, {config.vocabulary_size} tokens at most")
    tokenizer = make_tokenizer(_training_texts(plan, dealt, config.training_megabytes), config)
    if start:
        require_same_tokenizer(tokenizer, start)
    return tokenizer


def _sample(plan: Plan) -> list[str]:
    """Return texts from all over the data, on which the tokenizer of a preset has to prove itself."""
    texts: list[str] = []
    for block in plan.blocks[:: max(1, len(plan.blocks) // PROOF_BLOCKS)]:
        texts += pq.read_table(plan.file("prepared", block, ".parquet"), columns=["text"])["text"][
            :PROOF_ROWS
        ].to_pylist()
    return texts


def _training_texts(plan: Plan, dealt: Deal, megabytes: int) -> Iterator[str]:
    """Yield the corpus' training texts, or a share of them drawn by hash where there are more than so many bytes.

    Raises:
        ValidationFailed: there are none.
    """
    if not (dealt.corpus == TRAIN).any():
        sources = ", ".join(dict.fromkeys(block.source for block in plan.blocks if block.in_corpus))
        raise ValidationFailed(
            f"the pretraining corpus ({sources}) has no rows left to train on; add sources to data.corpus, or loosen "
            "preprocess.filters"
        )
    size = sum(pq.read_metadata(plan.file("prepared", block, ".parquet")).row_group(0).total_byte_size
               for block in plan.blocks if block.in_corpus)  # fmt: skip
    threshold = min(1.0, megabytes * 1e6 / max(1, size)) * 2.0**64
    for block in plan.blocks:
        chosen = (dealt.of(dealt.corpus, block) == TRAIN) & (plan.load("keys", block)[:, 0] < threshold)
        columns = ["text", "text_pair", *plan.targets(block)]
        table = pq.read_table(plan.file("prepared", block, ".parquet"), columns=columns)
        for column in columns:
            yield from pc.drop_null(table[column].filter(chosen)).to_pylist()


def _result(
    plan: Plan, dealt: Deal, tokens: int, capacity: int, aside: Counter[str], long: dict[str, dict[str, int]]
) -> PreprocessResult:
    fates = Counter(dealt.corpus.tolist())
    filtered: Counter[str] = Counter()
    cleaned: Counter[str] = Counter()
    for block in plan.blocks:
        cleaned.update(json.loads(plan.file("cleaned", block, ".json").read_text()))
        if block.in_corpus:
            rules = pq.read_table(plan.file("prepared", block, ".parquet"), columns=["rule"])["rule"]
            filtered.update(pc.drop_null(rules).to_pylist())
    assert filtered.total() == fates[FILTERED]
    return PreprocessResult(
        vocabulary_size=load_tokenizer(plan.out / "tokenizer.json").get_vocab_size(),
        corpus_rows=int((dealt.corpus >= TRAIN).sum()),
        corpus_tokens=tokens,
        corpus_duplicates=fates[DUPLICATE],
        corpus_near_duplicates=fates[NEAR_DUPLICATE],
        corpus_removed_as_evaluated=fates[EVALUATED],
        corpus_overlaps=fates[OVERLAP],
        corpus_held_out=fates[HELD_OUT],
        corpus_filtered=dict(sorted(filtered.items())),
        cleaned={rule: count for rule, count in sorted(cleaned.items()) if count},
        packing_efficiency=round(tokens / capacity, 4) if capacity else 0.0,
        tasks={name: task.counts() | {"unseen_labels": aside[name]} | long[name] for name, task in dealt.tasks.items()},
    )
