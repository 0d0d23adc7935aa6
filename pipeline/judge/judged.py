"""What the report shows of a task: how its model was judged, each part read from the files that the steps wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.search import spoken_value
from pipeline.judge.charts import Cloud, Whisker, cloud, curve, heat, whiskers
from pipeline.judge.names import HEADLINES, SMALLER_IS_BETTER, spoken
from pipeline.judge.sections import Artifacts, Values, read, training_log
from pipeline.steps import SCRATCH

CONFUSION_CLASSES = 30
WORST_CLASSES = 30
CONFUSED_PAIRS = 8
SCATTERED = 600
FURTHER = ("perplexity",)


def folders_of(artifacts: Artifacts, name: str) -> dict[str, Path]:
    """Return model -> folder with its metrics.json, of the models that the run has."""
    baseline = artifacts.get(f"baseline[{name}]")
    folders = {
        "candidate": artifacts.get(f"evaluate[{name}]"),
        "baseline": baseline,
        "scratch": artifacts.get(f"{SCRATCH}[{name}]"),
        "champion": artifacts.get(f"champion[{name}]"),
        "majority": baseline / "majority" if baseline else None,
    }
    return {model: folder for model, folder in folders.items() if folder is not None}


def verdict(run: Values, artifacts: Artifacts, name: str) -> Values:
    """The verdict with its rules, and every model's scores side by side."""
    metrics = {model: read(folder, "metrics.json") for model, folder in folders_of(artifacts, name).items()}
    gate = read(artifacts.get(f"gate[{name}]"), "gate.json")
    publish = artifacts.get(f"publish[{name}]")
    exported = publish / "export" / "gate.json" if publish else None
    return {
        "task": name,
        "description": run["recipe"]["tasks"][name].get("description", ""),
        "gate": gate,
        "forced": read(exported.parent, exported.name).get("forced") if exported and exported.exists() else None,
        "approval": run.get("nodes", {}).get(f"approval[{name}]"),
        "kind": kind_of(run, name),
        "models": list(metrics),
        "scores": scores(metrics, gate),
        "further": further(metrics),
        "versions": versions(run, name),
    }


def kind_of(run: Values, name: str) -> str:
    """Return the kind of a task."""
    kind: str = run["recipe"]["tasks"][name]["data"].get("kind", "classification")
    return kind


def training(run: Values, artifacts: Artifacts, name: str) -> Values:
    """The curves of the fine-tuning, and the proof of the export."""
    return {
        "finetuning": training_log(artifacts.get(f"finetune[{name}]")),
        "search": search(artifacts.get(f"finetune[{name}]")),
        "proof": read(artifacts.get(f"publish[{name}]"), "proof.json"),
        "versions": versions(run, name),
    }


def search(folder: Path | None) -> Values | None:
    """Return the trials of a fine-tuning's search beside each other; None without one."""
    result = read(folder, "manifest.json")["result"] if folder and (folder / "manifest.json").exists() else {}
    if "trials" not in result:
        return None
    trials = result["trials"]
    drawn = _drawn([{"value": trial["metric"], "interval": None} for trial in trials], result["metric"])
    rows = [
        {**trial, "values": [spoken_value(value) for value in trial["values"].values()], "found": found}
        for trial, found in zip(trials, drawn, strict=True)
    ]
    done = [(float(trial["trial"]), float(trial["metric"])) for trial in trials if trial["metric"] is not None]
    so_far = [(number, max(metric for _, metric in done[: place + 1])) for place, (number, _) in enumerate(done)]
    return {
        "metric": result["metric"],
        "keys": list(trials[0]["values"]),
        "best": result["best_trial"],
        "rows": rows,
        "chart": curve({"trial": done, "best so far": so_far}),
    }


def versions(run: Values, name: str) -> dict[str, str | None]:
    """Return the registered versions that the task met and made."""
    return {step: run.get("nodes", {}).get(f"{step}[{name}]", {}).get("version") for step in ("champion", "publish")}


def details(artifacts: Artifacts, name: str) -> Values:
    """What the candidate's answers look like: confusion, classes, or truth beside answer."""
    folders = folders_of(artifacts, name)
    metrics = {model: read(folder, "metrics.json") for model, folder in folders.items()}
    answers = metrics["candidate"]
    return {
        "kind": answers["kind"],
        "rows": answers["rows"],
        "heat": heat(answers["labels"], answers["confusion_matrix"], CONFUSION_CLASSES)
        if "confusion_matrix" in answers
        else None,
        "wrong": wrong(answers),
        "pairs": confused(answers) if "confusion_matrix" in answers else [],
        "classes": classes(metrics) if answers.get("per_class") else None,
        "scatter": scatter(folders["candidate"], answers) if answers["kind"] == "regression" else None,
        "thresholds": answers.get("thresholds", {}),
        "answered": {name: answers[name] for name in ("answerable", "answered") if name in answers},
        "written": written(answers) if answers["kind"] == "generation" else None,
    }


def calibration(artifacts: Artifacts, name: str) -> Values:
    """The candidate's accuracy per bin of confidence; the area of a dot is the share of the rows."""
    answers = read(artifacts[f"evaluate[{name}]"], "metrics.json")
    bins = answers["reliability"]
    most = max((one["rows"] for one in bins), default=1)
    dots = [
        (
            one["confidence"],
            one["accuracy"],
            round(2 + 8 * (one["rows"] / most) ** 0.5, 1),
            f"{one['rows']:,} rows: confidence {one['confidence']:.3f}, accuracy {one['accuracy']:.3f}",
        )
        for one in bins
    ]
    sure = sum(one["confidence"] * one["rows"] for one in bins) / max(answers["rows"], 1)
    return {
        "chart": cloud(dots, low=0.0, high=1.0),
        "error": answers["calibration_error"],
        "confidence": sure,
        "accuracy": answers["accuracy"],
    }


def slices(artifacts: Artifacts, name: str) -> Values:
    """The gate's metric on each slice, candidate beside champion or baseline."""
    gate = read(artifacts[f"gate[{name}]"], "gate.json")
    metric = gate["metric"]
    models = [model for model in ("candidate", "champion", "baseline") if model in gate["scores"]]
    rows = []
    for entry in gate["slices"]:
        cells = [entry["scores"].get(model, {}).get(metric, {"value": None, "interval": None}) for model in models]
        drawn = _drawn(cells, metric) if entry["scores"] else [None] * len(models)
        rows.append({"by": entry["by"], "slice": entry["slice"], "rows": entry["rows"], "cells": drawn})
    return {"kind": gate["kind"], "metric": metric, "models": models, "rows": rows}


def errors(artifacts: Artifacts, name: str) -> Values:
    """The worst mistakes, and the labels that are likely wrong."""
    folder = artifacts[f"evaluate[{name}]"]
    return {"kind": read(folder, "metrics.json")["kind"], **read(folder, "errors.json")}


def scores(metrics: Mapping[str, Values], gate: Values | None) -> dict[str, dict[str, Whisker | None]]:
    """Return metric -> model -> value with interval; without a verdict there are no intervals."""
    if not metrics:
        return {}
    table = {}
    for metric in HEADLINES[next(iter(metrics.values()))["kind"]]:
        cells = [
            {"value": values.get(metric), "interval": None}
            | ((gate or {}).get("scores", {}).get(model, {}).get(metric) or {})
            for model, values in metrics.items()
        ]
        table[metric] = dict(zip(metrics, _drawn(cells, metric), strict=True))
    return table


def _drawn(cells: Sequence[Values], metric: str) -> list[Whisker | None]:
    """Return the whiskers of cells {value, interval}, None where the value is undefined."""
    known = [cell for cell in cells if cell["value"] is not None]
    if not known:
        return [None] * len(cells)
    values, intervals = [cell["value"] for cell in known], [cell["interval"] for cell in known]
    drawn = iter(whiskers(values, intervals, smaller_is_better=metric in SMALLER_IS_BETTER))
    return [None if cell["value"] is None else next(drawn) for cell in cells]


def further(metrics: Mapping[str, Values]) -> dict[str, dict[str, float | None]]:
    """Return the metrics without interval: metric -> model -> value."""
    return {
        name: {model: values.get(name) for model, values in metrics.items()}
        for name in FURTHER
        if any(name in values for values in metrics.values())
    }


def wrong(answers: Values) -> int | None:
    """Return how many rows are answered wrongly; None for kinds where that is no question."""
    share = next((answers[name] for name in ("accuracy", "subset_accuracy", "exact_match") if name in answers), None)
    return None if share is None else round((1 - share) * answers["rows"])


def written(answers: Values) -> Values:
    """Return how long the answers are, how many were cut off, and how sacreBLEU counted."""
    signatures = [f"{spoken(name)} {signature}" for name, signature in answers["signatures"].items()]
    return {**answers["words"], "unfinished": answers["unfinished"], "signatures": signatures}


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


def classes(metrics: Mapping[str, Values]) -> Values:
    """Return the classes that occur in the test rows, worst F1 first, beside the baseline's F1."""
    opponent = metrics.get("baseline", {}).get("per_class", {})
    rows = [
        {"label": label, **values, "baseline": opponent.get(label, {}).get("f1")}
        for label, values in metrics["candidate"]["per_class"].items()
        if values["support"]
    ]
    rows.sort(key=lambda row: (row["f1"], -row["support"]))
    return {"rows": rows[:WORST_CLASSES], "left_out": max(len(rows) - WORST_CLASSES, 0)}


def scatter(folder: Path, answers: Values) -> dict[str, Any]:
    """Return the cloud of truth and answer, evenly drawn from the rows, and how far answers are off."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "predictions.parquet", columns=["row_id", "label", "predicted"]).to_pandas()
    errors = (table["predicted"] - table["label"]).to_numpy(np.float64)
    counts, edges = np.histogram(errors, bins=24)
    steps = curve({"rows": list(zip((edges[:-1] + edges[1:]) / 2, counts.astype(float), strict=True))}, from_zero=True)
    some = table.iloc[:: max(1, -(-len(table) // SCATTERED))]
    dots = [
        (float(x), float(y), 2.2, f"{name}: {x:.4g}, answered {y:.4g}") for name, x, y in some.itertuples(index=False)
    ]
    ends = [answers[side][end] for side in ("truth", "answers") for end in ("min", "max")]
    chart: Cloud = cloud(dots, low=min(ends), high=max(ends))
    return {"chart": chart, "shown": len(some), "residuals": answers["residuals"], "histogram": steps}
