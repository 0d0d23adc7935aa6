"""Which engine should run preprocessing: the same work done by ours and by five others, on the same texts.

    pip install polars datatrove orjson regex "xxhash<4"     # what is not installed is reported as such
    python benchmarks/data_engines.py --megabytes 200 --rounds 2

The work: read Parquet files, normalise (NFKC, lower case), drop exact duplicates of the whole, compute MinHash
signatures (128 hashes, 5 words), encode with our tokenizer, write. Each engine does its part its own way, and calls
our function for what it lacks (the tokenizer; for Polars, Arrow and Ray Data also Daft's MinHash kernel; for Ray Data
the choice of duplicates). Daft knows NFD only. datatrove's signatures, words and tokens are its own, document by
document. Texts are those of ICD-10-CM, told apart by a number; every tenth copy has none, so is a duplicate.

Each run is a process of its own, the engines in turn. `seconds` is the best round, from the call to the last file,
with the start of workers and the import of libraries; `processor` is what it and the processes that it waited for used
of the cores (not Ray's, which it does not wait for); `memory` is the most that its processes held together (PSS).
`output` compares the runs with each other, and with small ones (--check-megabytes) by two workers and by one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HASHES, NGRAM = 128, 5
ROWS_PER_FILE = 65_536


@dataclass(frozen=True)
class Job:
    """What an engine is given.

    Attributes:
        corpus: Path. Has `rows/*.parquet` (columns `number` and `text`) and `tokenizer.json`.
        out: Path. Folder for the result.
        workers: int. Cores that it may use.
    """

    corpus: Path
    out: Path
    workers: int

    @property
    def files(self) -> list[Path]:
        """The input, in order."""
        return sorted((self.corpus / "rows").glob("*.parquet"))


def run_ours(job: Job) -> None:
    """Blocks over processes, in two stages with a look at all keys between them, as `pipeline.preprocess` does it."""
    from pipeline.data.engine import LocalEngine
    from pipeline.data.text.duplicates import first_of_equal

    engine, work = LocalEngine(job.workers), job.corpus / "work"
    work.mkdir()
    counts = list(engine.map(partial(prepare_block, work), job.files))
    keys = np.concatenate([np.load(work / f"{path.stem}.keys.npy") for path in job.files])
    kept = first_of_equal(keys, np.zeros(len(keys), np.int8))
    for path, part in zip(job.files, np.split(kept, np.cumsum(counts)[:-1]), strict=True):
        np.save(work / f"{path.stem}.kept.npy", part)
    list(engine.map(partial(finish_block, job, work), job.files))


def prepare_block(work: Path, path: Path) -> int:
    """Normalise a block's texts, and save them and their keys."""
    from pipeline.data.text.duplicates import keys
    from pipeline.data.text.words import normalise

    table = pq.read_table(path)
    normal = normalise(table["text"].combine_chunks())
    np.save(work / f"{path.stem}.keys.npy", keys(normal))
    table = table.set_column(1, "normal", normal)
    pq.write_table(table, work / path.name, compression="lz4")
    return len(table)


def finish_block(job: Job, work: Path, path: Path) -> None:
    """Sign and encode the texts of a block that are kept."""
    kept = pa.array(np.load(work / f"{path.stem}.kept.npy"))
    pq.write_table(finish(pq.read_table(work / path.name).filter(kept), job.corpus), job.out / path.name)


def run_arrow(job: Job) -> None:
    """PyArrow in one process, with its own threads; the normalised texts are in memory for the grouping."""
    tables = []
    for path in job.files:
        table = pq.read_table(path)
        normal = pc.utf8_lower(pc.utf8_normalize(table["text"], "NFKC"))
        tables.append(table.set_column(1, "normal", normal))
    whole = pa.concat_tables(tables).group_by("normal").aggregate([("number", "min")]).sort_by("number_min")
    whole = whole.rename_columns({"number_min": "number"})
    schema = finish(whole.slice(0, 1), job.corpus).schema
    with pq.ParquetWriter(job.out / "tokens.parquet", schema) as writer:
        for start in range(0, len(whole), ROWS_PER_FILE):
            writer.write_table(finish(whole.slice(start, ROWS_PER_FILE), job.corpus))


def run_polars(job: Job) -> None:
    """Polars' lazy frame on its streaming engine."""
    import polars as pl

    def sign(series: Any) -> Any:
        return pl.from_arrow(signatures(series.to_arrow().cast(pa.string())))

    def encode(series: Any) -> Any:
        return pl.from_arrow(tokens(series.to_arrow().cast(pa.string()), job.corpus))

    finish(pa.table({"number": [0], "normal": ["once"]}), job.corpus)  # two threads at once must not import
    normal = pl.col("normal")
    frame = (
        pl.scan_parquet(job.files)
        .select("number", normal=pl.col("text").str.normalize("NFKC").str.to_lowercase())
        .unique("normal", keep="first", maintain_order=True)
        .select(
            "number",
            ids=normal.map_batches(encode, return_dtype=pl.List(pl.UInt16), is_elementwise=True),
            signature=normal.map_batches(sign, return_dtype=pl.UInt64, is_elementwise=True),
        )
    )
    frame.sink_parquet(job.out / "tokens.parquet", engine="streaming")


def run_daft(job: Job) -> None:
    """Daft's expressions from end to end, and a batch function for the tokenizer."""
    import daft
    from daft.functions import minhash, normalize

    tokens(pa.array(["once"]), job.corpus)  # two threads at once must not import
    ids = daft.DataType.list(daft.DataType.uint16())
    encode = daft.func.batch(return_dtype=ids)(lambda normal: tokens(normal.to_arrow().cast(pa.string()), job.corpus))
    normal = daft.col("normal")
    frame = (
        daft.read_parquet(f"{job.corpus}/rows/*.parquet")
        .with_column("normal", normalize(daft.col("text"), lowercase=True, nfd_unicode=True))
        .groupby("normal")
        .agg(daft.col("number").min())
        .select(
            "number",
            encode(normal).alias("ids"),
            minhash(normal, num_hashes=HASHES, ngram_size=NGRAM).hash().alias("signature"),
        )
    )
    frame.write_parquet(str(job.out))


def run_ray_data(job: Job) -> None:
    """Ray Data's map_batches; the driver looks at all keys in between, since a group a text is far too many for it."""
    import ray

    from pipeline.data.text.duplicates import first_of_equal

    ray.init(num_cpus=job.workers, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    batches = {"batch_format": "pyarrow", "batch_size": ROWS_PER_FILE}
    prepared = ray.data.read_parquet([str(path) for path in job.files]).map_batches(prepare_table, **batches)
    prepared = prepared.materialize()
    found = list(prepared.select_columns(["number", "first", "second"]).iter_batches(batch_format="numpy"))
    number, first, second = (np.concatenate([part[name] for part in found]) for name in ("number", "first", "second"))
    order = np.argsort(number)
    keys = np.stack([first, second], axis=1)[order]
    kept = ray.put(first_of_equal(keys, np.zeros(len(keys), np.int8)))
    prepared.map_batches(finish_table, fn_args=(kept, job.corpus), **batches).write_parquet(str(job.out))


def prepare_table(table: pa.Table) -> pa.Table:
    """Return the normalised texts with their keys."""
    from pipeline.data.text.duplicates import keys
    from pipeline.data.text.words import normalise

    normal = normalise(table["text"].combine_chunks())
    first, second = keys(normal).T
    return pa.table({"number": table["number"], "normal": normal, "first": first, "second": second})


def finish_table(table: pa.Table, kept: Any, corpus: Path) -> pa.Table:
    """Sign and encode the texts that are kept."""
    import ray

    kept = ray.get(kept) if isinstance(kept, ray.ObjectRef) else kept
    return finish(table.filter(pa.array(kept[table["number"].to_numpy()])), corpus)


def run_datatrove(job: Job) -> None:
    """Run datatrove's exact deduplication, then its MinHash signatures and its tokenizer step; words end at blanks."""
    import unicodedata

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup.exact_dedup import (
        ExactDedupConfig,
        ExactDedupFilter,
        ExactDedupSignature,
        ExactFindDedups,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Blanks(WordTokenizer):  # type: ignore[misc]
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    def adapt(_: Any, data: dict[str, Any], __: str, ___: int | str) -> dict[str, Any]:
        return {"text": unicodedata.normalize("NFKC", data["text"]).lower(), "id": str(data["number"])}

    def content(document: Any) -> str:
        return str(document.text)

    work, config = str(job.corpus / "work"), ExactDedupConfig(content_getter=content)
    minhash = MinhashConfig(NGRAM, num_buckets=HASHES // 8)
    signature = MinhashDedupSignature(f"{job.out}/signatures", minhash, language=Blanks())
    tokenizer = str(job.corpus / "tokenizer.json")
    reader = ParquetReader(str(job.corpus / "rows"), adapter=adapt, batch_size=ROWS_PER_FILE)
    stages = [
        [reader, ExactDedupSignature(f"{work}/keys", config)],
        [ExactFindDedups(f"{work}/keys", f"{work}/repeated", config=config)],
        [reader, ExactDedupFilter(f"{work}/repeated", config), signature],
        [reader, ExactDedupFilter(f"{work}/repeated", config), DocumentTokenizer(f"{job.out}/tokens", tokenizer)],
    ]
    for number, steps in enumerate(stages):
        tasks = 1 if number == 1 else len(job.files)
        LocalPipelineExecutor(
            steps, tasks=tasks, workers=min(job.workers, tasks), logging_dir=f"{work}/log{number}"
        ).run()


ENGINES = {
    "ours": run_ours,
    "arrow": run_arrow,
    "polars": run_polars,
    "daft": run_daft,
    "ray_data": run_ray_data,
    "datatrove": run_datatrove,
}


def finish(table: pa.Table, corpus: Path) -> pa.Table:
    """Return the output for normalised texts: their numbers, token ids and signatures."""
    normal = table["normal"].combine_chunks()
    return pa.table({"number": table["number"], "ids": tokens(normal, corpus), "signature": signatures(normal)})


def tokens(normal: pa.Array, corpus: Path) -> pa.Array:
    """Return the token ids of each text."""
    documents = _encoder(corpus / "tokenizer.json", threading.get_ident()).encode(normal)
    return pa.ListArray.from_arrays(documents.offsets.astype(np.int32), documents.values)


@cache
def _encoder(path: Path, _: int) -> Any:
    """Return the encoder of a thread: it remembers words, which two threads must not do at once."""
    from pipeline.data.tokens.encode import TextEncoder
    from pipeline.data.tokens.tokenizer import load_tokenizer

    return TextEncoder(load_tokenizer(path))


def signatures(normal: pa.Array) -> pa.Array:
    """Return each text's MinHash signature, hashed: 512 bytes a text would measure the disk."""
    import daft

    return daft.Series.from_arrow(normal).minhash(HASHES, NGRAM).hash().to_arrow()


def main() -> None:
    """Make the corpora, run the engines in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200, help="size of the corpus")
    parser.add_argument("--check-megabytes", type=int, default=20, help="size of the one for comparing outputs")
    parser.add_argument("--rounds", type=int, default=2, help="times that each engine runs")
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--run", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        corpus, out, workers = given.job
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(workers)])
        ENGINES[given.run](Job(Path(corpus), Path(out), int(workers)))
        return
    cores = len(os.sched_getaffinity(0))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in given.only}
    checks: dict[str, list[dict[str, Any]]] = {name: [] for name in given.only}
    for size, into, workers in ((given.check_megabytes, checks, (cores, 1)), (given.megabytes, runs, (cores,))):
        with tempfile.TemporaryDirectory() as folder:
            make_corpus(Path(folder), size * 10**6)
            for _ in range(given.rounds):
                for number in workers:
                    for name in given.only:
                        into[name].append(measure(name, Path(folder), number))
                        print(f"{size:4} MB  {number} workers  {name:10}", json.dumps(into[name][-1]), flush=True)
    report(runs, checks)


def make_corpus(folder: Path, size: int) -> None:
    """Write the texts as numbered rows, and a tokenizer trained on them."""
    from pipeline.config import Icd10Source, Tokenizer
    from pipeline.data.sources import read_source
    from pipeline.data.tokens.tokenizer import make_tokenizer

    source = Icd10Source(kind="icd10cm")
    texts = [text for table in read_source("icd10", source) for text in table["text"].to_pylist() if text.strip()]
    make_tokenizer(texts, Tokenizer()).save(str(folder / "tokenizer.json"))
    (folder / "rows").mkdir()
    copies = size // sum(map(len, texts)) + 1
    rows = [f"{text} {copy}" if copy % 10 else text for copy in range(copies) for text in texts]
    for part, start in enumerate(range(0, len(rows), ROWS_PER_FILE)):
        chosen = rows[start : start + ROWS_PER_FILE]
        table = pa.table({"number": np.arange(start, start + len(chosen)), "text": pa.array(chosen, pa.string())})
        pq.write_table(table, folder / "rows" / f"{part:05d}.parquet")


def measure(name: str, corpus: Path, workers: int) -> dict[str, Any]:
    """Run an engine in a process of its own; return its figures and digests, or why there are none."""
    environment = os.environ | {"DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0", "POLARS_MAX_THREADS": str(workers)}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), environment.get("PYTHONPATH", "")])
    environment |= {"RAYON_NUM_THREADS": str(workers), "OMP_NUM_THREADS": str(workers)}
    with tempfile.TemporaryDirectory(dir=corpus) as folder, tempfile.TemporaryFile() as log:
        out = Path(folder, "out")
        out.mkdir()
        shutil.rmtree(corpus / "work", ignore_errors=True)
        # Not run as a script, since what its workers are sent has to be found by name.
        command = [sys.executable, "-c", "import data_engines; data_engines.main()"]
        command += ["--run", name, "--job", str(corpus), str(out), str(workers)]
        started, used, peak = time.perf_counter(), processor_seconds(), 0
        process = psutil.Popen(command, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            peak = max(peak, held(process))
            time.sleep(0.2)
        seconds, used = time.perf_counter() - started, round(processor_seconds() - used, 1)
        if process.returncode:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            print(*lines[-40:], sep="\n", file=sys.stderr)
            return {"failed": lines[-1][:200]}
        return {"seconds": round(seconds, 1), "processor": used, "megabytes": round(peak / 1e6), **digests(out)}


def processor_seconds() -> float:
    """Return what the processes that this one and they have waited for have used of the processor."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def held(process: psutil.Process) -> int:
    """Return the memory of a process and all that it started, shared pages counted once, in bytes."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().pss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def digests(out: Path) -> dict[str, str | int]:
    """Return how many rows came out, and hashes of the files, of the rows in their order, and of the rows sorted."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    result: dict[str, str | int] = {"files": _hash(*(str(path.relative_to(out)) for path in files), *map(_read, files))}
    if any(path.suffix != ".parquet" for path in files):
        return result | {"rows": 0, "order": result["files"], "content": result["files"]}
    table = pa.concat_tables([pq.read_table(path, columns=["number", "ids", "signature"]) for path in files])
    hashes = [_rows_hash(table), _rows_hash(table.sort_by("number"))]
    return result | {"rows": len(table), "order": hashes[0], "content": hashes[1]}


def _rows_hash(table: pa.Table) -> str:
    ids = table["ids"].combine_chunks()
    columns = (table["number"], table["signature"], ids.value_lengths(), ids.flatten())
    return _hash(*(np.ascontiguousarray(column.to_numpy()) for column in columns))


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _hash(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:12]


def report(runs: dict[str, list[dict[str, Any]]], checks: dict[str, list[dict[str, Any]]]) -> None:
    """Print a row per engine: the best seconds, their ratio to ours, the most memory, and what repeats."""
    best = {
        name: min((run["seconds"] for run in found if "seconds" in run), default=None) for name, found in runs.items()
    }
    print("| engine | seconds | ratio | processor, s | memory, MB | output |\n|---|---|---|---|---|---|")
    for name, found in runs.items():
        if any("failed" in run for run in found + checks[name]):
            print(f"| {name} | {next(run['failed'] for run in checks[name] + found if 'failed' in run)} | | | | |")
            continue
        ratio = f"{best[name] / best['ours']:.2f}" if best.get("ours") else ""
        memory = max(run["megabytes"] for run in found)
        used = min(run["processor"] for run in found)
        print(f"| {name} | {best[name]} | {ratio} | {used} | {memory} | {sameness(found, checks[name])} |")


def sameness(*groups: list[dict[str, Any]]) -> str:
    """Say how much the outputs of runs on the same corpus have in common."""
    for key, words in (("files", "same bytes"), ("order", "same rows in order"), ("content", "same rows")):
        if all(len({run[key] for run in group}) == 1 for group in groups):
            return words
    return "differs"


if __name__ == "__main__":
    main()
