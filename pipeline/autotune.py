"""`auto` for backend and precision: the fastest that is installed, measured with the recipe's own model.

A process has one Keras backend, so each is measured in a process of its own, before this one imports Keras. What was
measured is kept per machine, package versions and model, because it takes about a minute.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.cost import flops_per_token
from models.horizon import Horizon
from models.size import Dimensions
from pipeline.backend import installed_backends, loaded_backend, select_backend
from pipeline.config import Recipe
from pipeline.store.files import write_whole
from pipeline.training.hardware import accelerators, processor_name

PRECISIONS = ("float32", "mixed_bfloat16")
SHORT_SECONDS = 600.0
PROBE_LIMIT_SECONDS = 180.0
UPDATE_SECONDS = 2.0
# Of the peak that a matrix product reaches: what a training makes of it, roughly.
EFFICIENCY = 0.5
ACCELERATOR_FLOPS = 2e13  # a guess at the slowest card in use; only decides whether measuring is worth while
PACKAGES = ("keras", "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu", "tensorflow", "torch")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """What a training runs on, and why; an unmeasured precision stays `auto`, for the backend to decide."""

    backend: str
    precision: str
    reason: str


def choose(
    recipe: Recipe,
    dimensions: Dimensions,
    vocabulary_size: int,
    horizon: Horizon,
    cache: Path,
    say: Say,
) -> Choice:
    """Return the backend and precision of a recipe, measured where it says `auto` and the training is long.

    Args:
        recipe: Recipe. Its `runtime`, and of `pretrain` what an update does.
        dimensions: Dimensions. Of the model.
        vocabulary_size: int. Tokens.
        horizon: Horizon. How long the training is, and in what batches.
        cache: Path. Folder that keeps what was measured.
        say: callable. Told the reason, and of probes that failed.

    Raises:
        BackendError: the backend that the recipe names is not installed, or none is.
    """
    runtime = recipe.runtime
    if "auto" not in (runtime.backend, runtime.precision):
        return Choice(select_backend(runtime.backend), runtime.precision, "set by the recipe")
    rate = EFFICIENCY * quick_flops()
    predictions = 1.0 if dimensions.architecture == "decoder" else recipe.pretrain.mask_fraction
    flops = flops_per_token(dimensions, vocabulary_size, horizon.sequence_length, predictions)
    if flops * horizon.tokens / rate < SHORT_SECONDS:
        choice = _first(runtime.backend, runtime.precision, f"a training of under {SHORT_SECONDS / 60:.0f} minutes")
    else:
        micro_batch = min(runtime.micro_batch_size or 2**31, horizon.global_batch_size)
        question = {
            "dimensions": asdict(dimensions),
            "config": recipe.pretrain.model_dump(mode="json"),
            "vocabulary_size": vocabulary_size,
            "sequence_length": horizon.sequence_length,
            "rows": micro_batch,
            "precisions": PRECISIONS if runtime.precision == "auto" else (runtime.precision,),
        }
        most = max(1, int(UPDATE_SECONDS * rate / (flops * horizon.sequence_length)))
        choice = _measured(runtime.backend, runtime.precision, question, most, cache, say)
    say(f"auto: {choice.backend}{'' if choice.precision == 'auto' else f' {choice.precision}'}, {choice.reason}")
    return choice


@functools.cache
def quick_flops() -> float:
    """Return a rough rate of matrix products, in operations per second, without loading a backend."""
    if accelerators():
        return ACCELERATOR_FLOPS
    size = 768
    matrix = np.ones((size, size), np.float32)
    matrix @ matrix
    times: list[float] = []
    end = time.perf_counter() + 0.1
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def _first(backend: str, precision: str, why: str) -> Choice:
    return Choice(select_backend(backend), precision, f"not measured: {why}")


def _measured(backend: str, precision: str, question: dict[str, Any], most_rows: int, cache: Path, say: Say) -> Choice:
    """Return the fastest pair, from the file that keeps it or from probes of `most_rows` rows at most."""
    fixed = loaded_backend() if backend == "auto" else select_backend(backend)
    candidates = [fixed] if fixed else installed_backends()
    facts = {"machine": machine(), "question": question, "backends": candidates}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    kept = cache / f"{key}.json"
    table, seconds = _read(kept), 0.0
    if table is None:
        start = time.monotonic()
        table, failures = _probe_all(candidates, question | {"rows": min(question["rows"], most_rows)}, say)
        seconds = time.monotonic() - start
        if not table:
            return _first(backend, precision, "every probe failed")
        cache.mkdir(parents=True, exist_ok=True)
        write_whole(kept, json.dumps(facts | {"table": table, "failures": failures}, indent=2))
    best, *others = sorted(table, key=lambda row: -row["tokens_per_second"])
    compared = f"{', '.join(map(_told, others))}; " if others else ""
    when = f"measured in {seconds:.0f} s, kept" if seconds else f"measured before: {kept}"
    reason = f"{best['tokens_per_second']:,.0f} tokens/s ({compared}{when})"
    return Choice(select_backend(best["backend"]), best["precision"], reason)


def machine() -> dict[str, Any]:
    """Return what a measured speed depends on besides the model."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerators": accelerators(),
        "python": platform.python_version(),
        "packages": packages,
    }


def _probe_all(backends: list[str], question: dict[str, Any], say: Say) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the rows of all probes, and what went wrong by backend."""
    table: list[dict[str, Any]] = []
    failures = {}
    say(f"auto: measuring {', '.join(backends)} with this model, some minutes at most; kept for the next time")
    for backend in backends:
        best = max((row["tokens_per_second"] for row in table), default=0.0)
        rows, failure = probe(backend, question | {"best": best})
        table += rows
        if failure:
            failures[backend] = failure
            say(f"auto: the probe of {backend} failed: {failure}")
    return table, failures


def probe(
    backend: str, question: dict[str, Any], limit: float = PROBE_LIMIT_SECONDS
) -> tuple[list[dict[str, Any]], str]:
    """Return what a process on a backend measured, and what went wrong with it, if anything.

    Args:
        backend: str. jax, tensorflow or torch.
        question: dict. What `pipeline.training.probe` reads.
        limit: float. Seconds after which the process is stopped; what it told before counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        try:
            process = subprocess.run(
                [sys.executable, "-m", "pipeline.training.probe", str(results)],
                input=json.dumps(question),
                env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"},
                cwd=Path(__file__).parents[1],
                capture_output=True,
                text=True,
                timeout=limit,
            )
            failure = "" if process.returncode == 0 else _last_error(process.stderr, process.returncode)
        except subprocess.TimeoutExpired:
            failure = f"it took more than {limit:.0f} s"
        lines = results.read_text().splitlines() if results.exists() else []
    return [{"backend": backend, **json.loads(line)} for line in lines], failure


def _read(kept: Path) -> list[dict[str, Any]] | None:
    """Return the table that an earlier run has kept; None when there is none that can be read."""
    try:
        table: list[dict[str, Any]] = json.loads(kept.read_text())["table"]
    except (OSError, ValueError, KeyError):
        return None
    return table


def _told(row: dict[str, Any]) -> str:
    return f"{row['backend']} {row['precision']} {row['tokens_per_second']:,.0f}"


def _last_error(output: str, code: int) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b", line)]
    return (errors or lines or [f"exit status {code}"])[-1]
