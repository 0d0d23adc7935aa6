"""What each section of the report shows, read from the files that the steps wrote."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.judge.charts import Whisker, curve, heat, whiskers

HEADLINES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1")
CONFUSION_CLASSES = 30
WORST_CLASSES = 30
CONFUSED_PAIRS = 8
MISTAKES = 12
TEXT = 280

Artifacts = Mapping[str, Path]
Values = dict[str, Any]


def overview(run: Values, artifacts: Artifacts) -> Values:
    """The run, and one line per task: verdict, and the gate's metric for each model."""
    tasks = []
    for task in run["recipe"]["tasks"]:
        gate = read(artifacts.get(f"gate[{task}]"), "gate.json")
        scores = {model: values[gate["metric"]] for model, values in gate["scores"].items()} if gate else {}
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
        "splits": [splits(tokens, task) for task in run["recipe"]["tasks"]] if tokens else [],
    }


def pretraining(artifacts: Artifacts) -> Values:
    """Loss and throughput over steps."""
    return {"log": training_log(artifacts.get("pretrain"))}


def task(run: Values, artifacts: Artifacts, name: str) -> Values:
    """Everything about one task: verdict, scores side by side, confusion, classes, mistakes."""
    folders = {
        "candidate": artifacts.get(f"evaluate[{name}]"),
        "baseline": artifacts.get(f"baseline[{name}]"),
        "champion": artifacts.get(f"champion[{name}]"),
    }
    metrics = {model: found for model, folder in folders.items() if (found := read(folder, "metrics.json"))}
    gate = read(artifacts.get(f"gate[{name}]"), "gate.json")
    view: Values = {
        "task": name,
        "description": run["recipe"]["tasks"][name].get("description", ""),
        "gate": gate,
        "models": list(metrics),
        "scores": scores(metrics, gate),
        "metrics": metrics,
        "finetuning": training_log(artifacts.get(f"finetune[{name}]")),
        "proof": read(artifacts.get(f"publish[{name}]"), "proof.json"),
        "versions": {
            step: run.get("nodes", {}).get(f"{step}[{name}]", {}).get("version") for step in ("champion", "publish")
        },
        "candidate": None,
    }
    if folders["candidate"] and "candidate" in metrics:
        answers = metrics["candidate"]
        view["candidate"] = {
            "heat": heat(answers["labels"], answers["confusion_matrix"], CONFUSION_CLASSES),
            "pairs": confused(answers),
            "classes": classes(metrics),
            "mistakes": mistakes(folders["candidate"]),
            "wrong": answers["rows"] - sum(row[index] for index, row in enumerate(answers["confusion_matrix"])),
        }
    return view


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


def scores(metrics: dict[str, Values], gate: Values | None) -> dict[str, dict[str, Whisker]]:
    """Return metric -> model -> value with interval; without a verdict there are no intervals."""
    table = {}
    for metric in HEADLINES:
        judged = [gate["scores"].get(model, {}).get(metric, {}) if gate else {} for model in metrics]
        values = [model[metric] for model in metrics.values()]
        drawn = whiskers(values, [cell.get("interval") for cell in judged]) if values else []
        table[metric] = dict(zip(metrics, drawn, strict=True))
    return table


def confused(metrics: Values) -> list[tuple[str, str, int]]:
    """Return (truth, answer, rows) of the most frequent wrong answers."""
    labels = metrics["labels"]
    pairs = [
        (labels[row], labels[column], count)
        for row, counts in enumerate(metrics["confusion_matrix"])
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:CONFUSED_PAIRS]


def classes(metrics: dict[str, Values]) -> Values:
    """Return the classes that occur in the test rows, worst F1 first, beside the baseline's F1."""
    opponent = metrics.get("baseline", {}).get("per_class", {})
    rows = [
        {"label": label, **values, "baseline": opponent.get(label, {}).get("f1")}
        for label, values in metrics["candidate"]["per_class"].items()
        if values["support"]
    ]
    rows.sort(key=lambda row: (row["f1"], -row["support"]))
    return {"rows": rows[:WORST_CLASSES], "left_out": max(len(rows) - WORST_CLASSES, 0)}


def mistakes(folder: Path) -> list[Values]:
    """Return the wrong answers that the model was surest of."""
    import pyarrow.parquet as pq

    columns = ["row_id", "text", "label", "predicted", "confidence"]
    rows = pq.read_table(folder / "predictions.parquet", columns=columns).to_pandas()
    wrong = rows[rows["label"] != rows["predicted"]]
    worst = wrong.sort_values(["confidence", "row_id"], ascending=[False, True]).head(MISTAKES)
    records: list[Values] = worst.to_dict("records")
    return [row | {"text": row["text"] if len(row["text"]) <= TEXT else row["text"][:TEXT] + " …"} for row in records]


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
