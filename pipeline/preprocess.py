"""Step `preprocess`: sound rows become a tokenizer, packed token shards to pretrain on, and labelled ones per task.

    tokenizer.json
    corpus/{train,validation}/       packed rows of the pretraining corpus
    tasks/<task>/labels.json         the classes, sorted
    tasks/<task>/<split>.parquet     the rows as text, for baselines and evaluation
    tasks/<task>/<split>/            the same rows packed, for fine-tuning
    quarantine.jsonl                 rows whose label no training row carries

Leakage rule: rows of one group (`sources.*.group`; equal texts where there is none) share a split; nothing from a
validation or test group, and no text equal to one that a task is judged on, is trained on, in pretraining either.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from pipeline.config import Recipe
from pipeline.data.examples import Example, TaskExamples, corpus_examples, task_examples, write_examples
from pipeline.data.packing import cut, pack
from pipeline.data.shards import write_shards
from pipeline.data.split import SPLITS
from pipeline.data.tokenizer import encode, train_tokenizer
from pipeline.errors import ValidationFailed
from pipeline.progress import Progress


@dataclass(frozen=True)
class PreprocessResult:
    """Counts of what was kept, dropped and written."""

    vocabulary_size: int
    corpus_rows: int
    corpus_tokens: int
    corpus_duplicates: int
    corpus_removed_as_evaluated: int
    packing_efficiency: float
    tasks: dict[str, dict[str, int]]


def preprocess(recipe: Recipe, rows: Path, out: Path, progress: Progress) -> PreprocessResult:
    """Write the tokenizer, the packed corpus and the packed tasks into `out`.

    Args:
        recipe: Recipe. Its `seed`, `data.corpus`, `preprocess` and `tasks.*.data`.
        rows: Path. The artifact of `validate`.
        out: Path. Folder to write into.
        progress: Progress. Counts texts.

    Raises:
        SourceError: a column that a task names does not exist.
        ValidationFailed: the corpus is empty, or a task has an empty split or a single class.
    """
    config = recipe.preprocess
    tasks = {
        name: task_examples(name, rows / "rows" / f"{task.data.source}.parquet", task.data, config)
        for name, task in recipe.tasks.items()
    }
    evaluated = {e.key for task in tasks.values() for split in ("validation", "test") for e in task.rows[split]}
    sources = recipe.data.corpus or sorted(path.stem for path in (rows / "rows").glob("*.parquet"))
    paths = [rows / "rows" / f"{source}.parquet" for source in sources]
    corpus, duplicates, removed = corpus_examples(paths, config, evaluated)
    training = [example.text for example in corpus if example.split == "train"]
    if not training:
        raise ValidationFailed(
            f"the pretraining corpus ({', '.join(sources)}) has no rows left to train on; add sources to data.corpus"
        )
    tokenizer = train_tokenizer(training, config.tokenizer)
    tokenizer.save(str(out / "tokenizer.json"))
    total = len(corpus) + sum(len(task.rows[split]) for task in tasks.values() for split in SPLITS)
    done, tokens, capacity = 0, 0, 0
    for split in ("train", "validation"):
        texts = [example.text for example in corpus if example.split == split]
        documents = [piece for ids in encode(tokenizer, texts) for piece in cut(ids, config.sequence_length)]
        packed = pack(documents, config.sequence_length, recipe.seed)
        write_shards(packed, out / "corpus" / split, config.rows_per_shard)
        tokens += sum(map(len, documents))
        capacity += packed.token_ids.size
        done += len(texts)
        progress.update(done, total, rows=done, tokens=tokens)
    for name, task in tasks.items():
        _write_task(task, tokenizer, recipe, out / "tasks" / name)
        done += sum(map(len, task.rows.values()))
        progress.update(done, total, rows=done, tokens=tokens)
    _write_quarantine(tasks, out / "quarantine.jsonl", progress)
    return PreprocessResult(
        vocabulary_size=tokenizer.get_vocab_size(),
        corpus_rows=len(corpus),
        corpus_tokens=tokens,
        corpus_duplicates=duplicates,
        corpus_removed_as_evaluated=removed,
        packing_efficiency=round(tokens / capacity, 4),
        tasks={name: _counts(task) for name, task in tasks.items()},
    )


def _write_task(task: TaskExamples, tokenizer: Tokenizer, recipe: Recipe, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(task.labels, indent=2, ensure_ascii=False))
    length = recipe.preprocess.sequence_length
    for split in SPLITS:
        examples = task.rows[split]
        write_examples(examples, folder / f"{split}.parquet")
        documents = encode(tokenizer, [example.text for example in examples], max_length=length)
        # A cap on segments keeps the classifier's pooling matrix small when texts are very short.
        packed = pack(documents, length, recipe.seed, max_segments=max(1, length // 4))
        write_shards(packed, folder / split, recipe.preprocess.rows_per_shard)


def _write_quarantine(tasks: dict[str, TaskExamples], path: Path, progress: Progress) -> None:
    """Write the rows that were set aside, each with its reason, and say how many there are."""
    set_aside: list[tuple[str, Example]] = [(name, e) for name, task in tasks.items() for e in task.unseen]
    lines = [
        json.dumps(
            {
                "row_id": example.row_id,
                "task": name,
                "reason": f"label {example.label!r} is in the {example.split} split but in no training row",
                "text": example.text,
            },
            ensure_ascii=False,
        )
        for name, example in set_aside
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if lines:
        progress.say(f"{len(lines)} rows set aside because no training row has their label: {path}")


def _counts(task: TaskExamples) -> dict[str, int]:
    counts = {split: len(task.rows[split]) for split in SPLITS}
    return counts | {
        "classes": len(task.labels),
        "duplicates": task.duplicates,
        "conflicting_texts": task.conflicts,
        "unseen_labels": len(task.unseen),
    }
