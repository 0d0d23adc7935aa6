"""What pretraining brings where few rows are labelled: one fine-tuning from the backbone, and the same from scratch.

    tradewind run configs/icd10-long.yaml
    python benchmarks/few_labels.py configs/icd10-long.yaml TOKENS BACKBONE chapter --share 0.1 \
        --set tasks.chapter.finetune.epochs=12

TOKENS and BACKBONE are the run's artifacts of `preprocess` and `pretrain`. Of the task's training rows those are kept
whose row_id an md5 deals into the share; the other rows stay in the pretraining corpus, without their labels. Both
models answer the rows of --split, and their metrics are resampled together, a group as a whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

PARTS = 10_000


def main() -> None:
    """Train both and print their metrics, and the differences with their intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("tokens", type=Path, help="artifact of preprocess")
    parser.add_argument("backbone", type=Path, help="artifact of pretrain")
    parser.add_argument("task", help="of kind classification")
    parser.add_argument("--share", type=float, default=0.1, help="of the training rows")
    parser.add_argument("--split", default="validation", choices=("validation", "test"))
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of tradewind run")
    options = parser.parse_args()

    from pipeline.backend import select_backend

    select_backend(options.backend)

    from pipeline.bundle import Bundle
    from pipeline.finetune import finetune
    from pipeline.judge.bootstrap import resample
    from pipeline.judge.predictions import predict, read_split
    from pipeline.progress import SilentProgress
    from pipeline.recipes import load_recipe

    recipe = load_recipe(options.recipe, options.set)
    rows = read_split(options.tokens, options.task, options.split)
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        print(f"{keep_share(options.tokens, tokens, options.task, options.share):,} labelled rows", flush=True)
        for start in ("pretrained", "scratch"):
            out = Path(folder) / start
            out.mkdir()
            finetune(recipe, options.task, tokens, options.backbone, out, SilentProgress(), initialize=start)
            bundle = Bundle.load(out / "bundle")
            answers[start] = predict("classification", rows, bundle.labels, bundle.answer(rows["text"].tolist()))
    found = resample(answers, recipe.seed)
    for metric, value in found.values["pretrained"].items():
        difference, interval = found.difference("pretrained", "scratch", metric)
        low, high = interval or (np.nan, np.nan)
        told = f"pretrained {value:.3f}, scratch {found.values['scratch'][metric]:.3f}, "
        print(f"{metric}: {told}difference {difference:.3f}, interval {low:.3f} to {high:.3f}")


def keep_share(tokens: Path, out: Path, task: str, share: float) -> int:
    """Copy tokens with a share of the task's training rows, packed anew, and return how many these are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.data.tokens.encode import TextEncoder
    from pipeline.data.tokens.packing import pack
    from pipeline.data.tokens.shards import ShardedRows, write_index, write_shards
    from pipeline.data.tokens.tokenizer import load_tokenizer

    shutil.copytree(tokens, out, ignore=shutil.ignore_patterns("corpus", "removed"))
    folder = out / "tasks" / task
    whole = ShardedRows(folder / "train")
    table = pq.read_table(folder / "train.parquet")
    hashed = [int(hashlib.md5(name.encode()).hexdigest(), 16) % PARTS for name in table["row_id"].to_pylist()]
    table = table.filter(pa.array(np.array(hashed) < share * PARTS))
    if not len(table):
        sys.exit(f"no training row is left of {len(hashed):,}; --share is {share}, make it larger")
    pq.write_table(table, folder / "train.parquet")
    encoder = TextEncoder(load_tokenizer(out / "tokenizer.json"))
    documents = encoder.encode(table["text"].combine_chunks(), None, whole.sequence_length)
    packed = pack(documents, whole.sequence_length, 0, encoder.vocabulary.pad, whole.segments_per_row)
    tokenizer = json.loads((folder / "train" / "index.json").read_text())["tokenizer"]
    shutil.rmtree(folder / "train")
    write_index(
        write_shards(packed, folder / "train", 0, len(packed)), folder / "train", whole.sequence_length, tokenizer
    )
    return len(table)


if __name__ == "__main__":
    main()
