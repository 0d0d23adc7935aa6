"""What each section of the report shows, read from the files that the steps wrote."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.judge.charts import curve

Artifacts = Mapping[str, Path]
Values = dict[str, Any]


def overview(run: Values, artifacts: Artifacts) -> Values:
    """The run, and one line per task: verdict, and the gate's metric for each model."""
    tasks = []
    for task in run["recipe"]["tasks"]:
        gate = read(artifacts.get(f"gate[{task}]"), "gate.json")
        scores = {model: values[gate["metric"]] for model, values in gate["scores"].items()} if gate else {}
        scores.pop("majority", None)
        tasks.append({"name": task, "gate": gate, "scores": scores})
    seconds = sum(node.get("seconds") or 0 for node in run.get("nodes", {}).values() if not node.get("hit"))
    return {"run": run, "tasks": tasks, "seconds": seconds}


def data(run: Values, artifacts: Artifacts, out: Path) -> Values:
    """Rows kept and quarantined per source, checks, drift, what the corpus lost, and the rows per split and task."""
    rows = artifacts.get("validate")
    if rows is None:
        return {"validated": False}
    sources = read(rows, "statistics.json")["sources"]
    quarantine = Counter(
        {
            (source, reason): count
            for source, figures in sources.items()
            for reason, count in figures["quarantined_by_reason"].items()
        }
    )
    checks = read(rows, "checks.json")
    tokens, drift = artifacts.get("preprocess"), artifacts.get("drift")
    return {
        "validated": True,
        "sources": [{"name": name, **figures} for name, figures in sources.items()],
        "quarantine": [(source, reason, count) for (source, reason), count in quarantine.most_common(20)],
        "checks": sorted(checks, key=lambda check: (bool(check["success"]), check["severity"])),
        "failed": [check for check in checks if not check["success"]],
        "pages": link(rows / "data_docs" / "index.html", out),
        "drift": read(drift, "drift.json"),
        "drift_page": link(drift / "drift.html", out) if drift else None,
        "corpus": corpus(tokens),
        "sliding": {name: task["data"].get("long_texts") == "slide" for name, task in run["recipe"]["tasks"].items()},
        "splits": [splits(tokens, task) for task in run["recipe"]["tasks"]] if tokens else [],
    }


def pretraining(run: Values, artifacts: Artifacts) -> Values:
    """Loss and throughput over steps, how well the model knows the validation texts, and where it started from."""
    folder = artifacts.get("pretrain")
    known = folder is not None and (folder / "manifest.json").exists()
    result = read(folder, "manifest.json")["result"] if known else {}
    start = run["recipe"].get("pretrain", {}).get("start_from")
    taken = result.get("steps") == 0
    return {"log": training_log(folder), "language": result.get("language", {}), "start_from": start, "taken": taken}


def lineage(run: Values) -> Values:
    """Which artifact each node of the run got, and how to make them again."""
    recipe = json.dumps(run["recipe"], indent=2, ensure_ascii=False)
    return {"nodes": run.get("nodes", {}), "run": run, "recipe": recipe}


def training_log(folder: Path | None) -> Values | None:
    """Charts of logs/metrics.jsonl: every key that ends in `loss`, and tokens_per_second."""
    if folder is None:
        return None
    entries = [entry for entry in lines(folder / "logs" / "metrics.jsonl") if "step" in entry]
    names = sorted({key for entry in entries for key in entry if key.endswith("loss")})
    losses = {name: series(entries, name) for name in names}
    speeds = series(entries, "tokens_per_second")
    return {
        "loss": curve(losses),
        "speed": curve({"tokens_per_second": speeds}, from_zero=True),
        "steps": max((entry["step"] for entry in entries), default=0),
        "median_speed": sorted(speed for _, speed in speeds)[len(speeds) // 2] if speeds else None,
    }


def series(entries: list[Values], name: str) -> list[tuple[float, float]]:
    """Return (step, value) of the entries that have a number for `name`, by step; a repeated step keeps the last."""
    points = {float(entry["step"]): float(entry[name]) for entry in entries if isinstance(entry.get(name), int | float)}
    return sorted(points.items())


def corpus(tokens: Path | None) -> Values | None:
    """Return what preprocessing kept for pretraining, and the texts that it lost to each rule."""
    if tokens is None or not (tokens / "manifest.json").exists():
        return None
    result: Values = read(tokens, "manifest.json")["result"]
    lost = {
        "duplicate": result["corpus_duplicates"],
        "near duplicate": result["corpus_near_duplicates"],
        "equals a text that a task is judged on": result["corpus_removed_as_evaluated"],
        "overlaps a text that a task is judged on": result["corpus_overlaps"],
        "held out with its group": result["corpus_held_out"],
    } | {f"filter {rule.replace('_', ' ')}": count for rule, count in result["corpus_filtered"].items()}
    return result | {"lost": {rule: count for rule, count in lost.items() if count}}


def link(page: Path, out: Path) -> str | None:
    """Return the address of a page as seen from the report in `out`; None when there is no such page."""
    return Path(os.path.relpath(page, out)).as_posix() if page.exists() else None


def splits(tokens: Path, task: str) -> Values:
    """Return the rows per split and the number of classes of a task."""
    folder = tokens / "tasks" / task
    counts = {split: parquet_rows(folder / f"{split}.parquet") for split in ("train", "validation", "test")}
    return {"task": task, "classes": len(read(folder, "labels.json")), **counts}


def parquet_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file, from its footer."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def read(folder: Path | None, name: str) -> Any:
    """Return the JSON in folder/name; None when the run has no such artifact."""
    return None if folder is None else json.loads((folder / name).read_text(encoding="utf-8"))


def lines(path: Path) -> list[Values]:
    """Return the objects of a JSON-lines file; none when it does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
