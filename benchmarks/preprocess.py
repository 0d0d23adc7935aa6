"""How fast text becomes packed shards, as a ratio of what the tokenizer alone does on the same cores.

    python benchmarks/preprocess.py --megabytes 100 --rounds 3
    python benchmarks/preprocess.py --text FILE          # another corpus: one document a line

Three contestants turn the same documents into token ids, each in a process of its own, in turn:

- tokenizer: `encode_batch_fast` of Hugging Face tokenizers on all cores, its ids thrown away;
- tradewind: the whole step `preprocess` with its defaults: repair, exact and near duplicates, overlap with the test
  rows, encoding, packing, shards on disk. The tokenizer is given, since the others train none;
- run_mlm: what transformers' run_mlm.py does: `datasets.map` of the tokenizer, then of `group_texts`, in one process
  per core, on disk. It repairs, deduplicates and checks nothing. Needs the extra: pip install '.[benchmarks]'

The default corpus are the texts of ICD-10-CM, each copy told apart by a number so that none is a duplicate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa

CONTESTANTS = ("tokenizer", "tradewind", "run_mlm")
LENGTH = 128


def main() -> None:
    """Make the corpus, run the contestants in turn, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100, help="size of the corpus")
    parser.add_argument("--rounds", type=int, default=3, help="times that each contestant runs")
    parser.add_argument("--text", type=Path, help="a file with one document a line, instead of ICD-10-CM")
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--run", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(
            json.dumps(
                {"tokenizer": run_tokenizer, "tradewind": run_tradewind, "run_mlm": run_mlm}[given.run](given.folder)
            )
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        make_corpus(Path(folder), given.megabytes * 10**6, given.text)
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in given.only}
        for _ in range(given.rounds):
            for name in given.only:
                figures[name].append(measure(name, Path(folder)))
                print(f"{name:10}", json.dumps(figures[name][-1]), flush=True)
    report(figures)


def make_corpus(folder: Path, size: int, text: Path | None) -> None:
    """Write the documents as `validate` would, and as JSON lines; and the tokenizer."""
    from pipeline.config import Tokenizer
    from pipeline.data.rows import RowsWriter
    from pipeline.data.tokens.tokenizer import make_tokenizer

    writer = RowsWriter(folder / "rows" / "documents")
    first: list[str] = []
    number = 0
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as lines:
        for batch in documents(size, text):
            first += batch if len(first) < 100_000 else []
            lines.writelines(json.dumps({"text": document}) + "\n" for document in batch)
            ids = [f"documents:{number + place}" for place in range(len(batch))]
            labels = ["even" if place % 2 else "odd" for place in range(len(batch))]
            columns = {"row_id": ids, "text": batch, "label": labels}
            writer.write(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))
            number += len(batch)
    writer.close()
    make_tokenizer(first, Tokenizer()).save(str(folder / "tokenizer.json"))
    print(f"{number:,} documents, {(folder / 'documents.jsonl').stat().st_size / 1e6:.0f} MB", flush=True)


def documents(size: int, text: Path | None) -> Iterator[list[str]]:
    """Yield lists of documents, about so many bytes in all."""
    if text:
        lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
    else:
        from pipeline.config import Icd10Source
        from pipeline.data.sources import read_source

        source = Icd10Source(kind="icd10cm")
        lines = [text for table in read_source("icd10", source) for text in table["text"].to_pylist()]
    lines = [line.strip() for line in lines if len(line.strip()) > 1]
    done = copy = 0
    while done < size:
        batch = [f"{line} {copy}" if copy else line for line in lines]
        done += sum(map(len, batch))
        copy += 1
        yield batch


def measure(name: str, folder: Path) -> dict[str, float]:
    """Run a contestant in a process of its own; return its figures and the most memory that its processes took."""
    command = [sys.executable, __file__, "--run", name, "--folder", str(folder)]
    with tempfile.TemporaryFile() as output:
        process = psutil.Popen(command, stdout=output)
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(0.2)
        output.seek(0)
        if process.returncode:
            raise SystemExit(f"{name} failed")
        figures: dict[str, float] = json.loads(output.read().splitlines()[-1])
    return figures | {"peak_megabytes": round(peak / 1e6)}


def resident(process: psutil.Process) -> int:
    """Return the memory of a process and its children that they share with no other, in bytes."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().uss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def run_tokenizer(folder: Path) -> dict[str, float]:
    """Encode everything, on all cores, in batches of the size of our blocks."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    seconds, tokens = 0.0, 0
    for texts in text_batches(folder):
        started = time.perf_counter()
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        seconds += time.perf_counter() - started
        tokens += sum(len(encoding) for encoding in encodings)
    return {"seconds": round(seconds, 2), "tokens_per_second": round(tokens / seconds)}


def text_batches(folder: Path) -> Iterator[list[str]]:
    """Yield the documents of each block."""
    from pipeline.data.rows import read_rows, row_files

    for path in row_files(folder / "rows", "documents"):
        yield read_rows(path, ["text"])["text"].to_pylist()


def run_tradewind(folder: Path) -> dict[str, float]:
    """Run the step with its defaults, but for the tokenizer."""
    from pipeline.config import Recipe
    from pipeline.preprocess import preprocess
    from pipeline.progress import SilentProgress

    recipe = Recipe.model_validate(
        {
            "name": "benchmark",
            "data": {"sources": {"documents": {"kind": "files", "path": "documents.jsonl"}}},
            "preprocess": {
                "sequence_length": LENGTH,
                "split": {"validation": 0.005, "test": 0.005},
                "tokenizer": {"kind": "file", "path": str(folder / "tokenizer.json")},
            },
            "tasks": {"parity": {"data": {"source": "documents"}}},
        }
    )
    with tempfile.TemporaryDirectory(dir=folder) as out:
        started = time.perf_counter()
        result = preprocess(recipe, folder, Path(out), SilentProgress())
        seconds = time.perf_counter() - started
    # What was read counts, not what was kept: the time goes into the rows that are dropped, too.
    return {"seconds": round(seconds, 2), "kept_tokens": result.corpus_tokens}


def run_mlm(folder: Path) -> dict[str, float]:
    """Tokenize and group as transformers' examples/pytorch/language-modeling/run_mlm.py does."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import datasets
    from transformers import PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))

    def tokenize(examples: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encoded: dict[str, list[list[int]]] = tokenizer(examples["text"], return_special_tokens_mask=True)
        return encoded

    def group_texts(examples: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: [item for part in examples[name] for item in part] for name in examples}
        total = len(joined["input_ids"]) // LENGTH * LENGTH
        return {name: [t[i : i + LENGTH] for i in range(0, total, LENGTH)] for name, t in joined.items()}

    with tempfile.TemporaryDirectory(dir=folder) as cache:
        raw = datasets.load_dataset("json", data_files=str(folder / "documents.jsonl"), split="train", cache_dir=cache)
        processes = os.cpu_count()
        started = time.perf_counter()
        tokenized = raw.map(tokenize, batched=True, num_proc=processes, remove_columns=["text"])
        tokenized.map(group_texts, batched=True, num_proc=processes)
        seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 2)}


def report(figures: dict[str, list[dict[str, float]]]) -> None:
    """Print the ratio of the seconds, round by round, and its median."""
    for peer in ("tokenizer", "run_mlm"):
        if peer in figures and "tradewind" in figures:
            pairs = zip(figures[peer], figures["tradewind"], strict=True)
            ratios = [theirs["seconds"] / ours["seconds"] for theirs, ours in pairs]
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"tradewind is {statistics.median(ratios):.2f} times as fast as {peer} ({each})")


if __name__ == "__main__":
    main()
