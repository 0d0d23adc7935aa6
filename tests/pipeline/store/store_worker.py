"""Run by the tests in processes of their own: a step that waits for a signal file, and a writer of run records.

store_worker.py step ROOT SCRATCH NAME   writes SCRATCH/NAME.started, then waits for SCRATCH/go before it finishes
store_worker.py record ROOT RUN_ID NAME COUNT
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.store import Factors, Runs, Store


def main() -> None:
    job, root, *rest = sys.argv[1:]
    if job == "step":
        run_step(Path(root), Path(rest[0]), rest[1])
    else:
        record(Path(root), rest[0], rest[1], int(rest[2]))


def run_step(root: Path, scratch: Path, name: str) -> None:
    def say(text: str) -> None:
        with (scratch / f"{name}.said").open("a") as stream:
            stream.write(text + "\n")

    def work(out: Path) -> dict[str, Any]:
        with (scratch / "attempts").open("a") as stream:
            stream.write(f"{name} found {sorted(path.name for path in out.iterdir())}\n")
        (out / f"checkpoint-{name}").write_text(name)
        (scratch / f"{name}.started").write_text(str(os.getpid()))
        while not (scratch / "go").exists():
            time.sleep(0.02)
        return {"made_by": name}

    artifact = Store(root).run("pretrain", Factors("pretrain", {"seed": 17}, {}, "source"), work, say)
    answer = {"hit": artifact.hit, "path": str(artifact.path), "result": artifact.result}
    sys.stdout.write(json.dumps(answer))


def record(root: Path, run_id: str, name: str, count: int) -> None:
    runs = Runs(root)
    for number in range(count):
        runs.record(run_id, f"{name}.{number}", {"reference": None, "status": "done"})


if __name__ == "__main__":
    main()
