"""Seconds from the start of a process to its first update, without and with the compiled programs of an earlier one.

    python benchmarks/second_start.py [--size mini] [--backends jax tensorflow] [--rounds 3]

Each round starts with an empty cache and runs two processes, one after the other: the first compiles, the second finds
what the first has kept. Prints the parts of every start, and the median of the ratio of the first updates.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("import", "build", "first update")


def main() -> None:
    """Run the rounds, or be one of their processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--backends", nargs="+", default=["jax", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--start", nargs=2, metavar=("BACKEND", "CACHE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        start_once(arguments.size, arguments.start[0], Path(arguments.start[1]))
        return
    for backend in arguments.backends:
        ratios = []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                first, second = (start_process(arguments.size, backend, folder) for _ in range(2))
            ratios.append(first["first update"] / second["first update"])
            for name, start in (("first", first), ("second", second)):
                print(f"{backend} {name} start: " + ", ".join(f"{part} {start[part]:.1f} s" for part in PARTS))
        print(f"{backend}: the first update comes {statistics.median(ratios):.1f} times sooner (median)")


def start_process(size: str, backend: str, folder: str) -> dict[str, float]:
    """Return the seconds of each part of one start."""
    command = [sys.executable, __file__, "--size", size, "--start", backend, folder]
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(process.stdout.splitlines()[-1])


def start_once(size: str, backend: str, cache: Path) -> None:
    """Print the seconds of each part of this process's start as JSON."""
    from models.size import derive_dimensions
    from pipeline.backend import select_backend
    from pipeline.training.compile_cache import keep_compiled

    times = [time.perf_counter()]
    select_backend(backend)
    keep_compiled(backend, cache)
    from pipeline.config import Pretrain
    from pipeline.training.trial import Trial

    times.append(time.perf_counter())
    trial = Trial(derive_dimensions(size), Pretrain(), vocabulary_size=8192, sequence_length=128, rows=8)
    stepper, batch = trial.start("float32")
    times.append(time.perf_counter())
    float(stepper.update(batch).loss)
    times.append(time.perf_counter())
    print(json.dumps({part: times[i + 1] - times[i] for i, part in enumerate(PARTS)}))


if __name__ == "__main__":
    main()
