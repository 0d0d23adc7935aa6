"""Contestants of a benchmark, each a warm process of its own; they take turns, so that neighbours in time compare."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

CONTESTANT = "--contestant"  # the option by which a script is told to be one

Update = Callable[[], Any]


def take_turns(
    names: Sequence[str],
    environment: Callable[[str], Mapping[str, str]],
    rounds: int,
    updates: int,
    before_round: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Return the seconds of an update of every contestant, by name, one number a round.

    Each is this very command with `--contestant NAME`, which must call `serve`; one that fails is left out.

    Args:
        names: sequence of str. The contestants.
        environment: callable. Name -> variables of its process, beside those of this one.
        rounds: int. Turns of each.
        updates: int. Of one turn, after one that does not count.
        before_round: callable. Called before every round.
    """
    processes = {name: _start(name, environment(name)) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        before_round()
        for name in list(processes):
            taken = _turn(processes[name], updates)
            if taken is None:
                print(f"{name}: failed, left out")
                processes.pop(name).kill()
                del seconds[name]
            else:
                seconds[name].append(taken / updates)
    for process in processes.values():
        process.kill()
    return seconds


def serve(update: Update, facts: str) -> None:
    """Be a contestant: make updates when told to; `update` returns something whose float waits until it is done."""
    started = time.perf_counter()
    float(update())
    first = time.perf_counter() - started
    float(update())
    print(f"ready, {facts}, first update {first:.1f} s", flush=True)
    for line in sys.stdin:
        float(update())  # while it waited, the system may have taken memory from it
        started = time.perf_counter()
        for _ in range(int(line)):
            last = update()
        float(last)
        print(time.perf_counter() - started, flush=True)


def _start(name: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a contestant and wait until it is warm, so that compiling disturbs nobody."""
    process = subprocess.Popen(
        [sys.executable, *sys.argv, CONTESTANT, name],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    while (line := process.stdout.readline()) and not line.startswith("ready"):
        pass
    print(f"{name}: {line.strip() or 'failed'}", flush=True)
    return process


def _turn(process: subprocess.Popen[str], updates: int) -> float | None:
    """Return the seconds of some updates, None when the process is gone."""
    assert process.stdin and process.stdout
    try:
        process.stdin.write(f"{updates}\n")
        process.stdin.flush()
        return float(process.stdout.readline())
    except (BrokenPipeError, ValueError):
        return None
