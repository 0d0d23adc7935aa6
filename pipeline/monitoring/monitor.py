"""Compare what a published model is asked, and what it answers, with what it was trained and tested on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import yaml

from pipeline.config import Drift
from pipeline.data.quality.drift.metrics import Metric, answer_metric, described, require_enough, text_metrics
from pipeline.data.quality.drift.reference import Reference, load, make_reference
from pipeline.data.quality.figures.profile import Chunk, Labels, Profile
from pipeline.data.quality.pages.rendering import drift_page
from pipeline.errors import SourceError
from pipeline.monitoring.log import SCHEMA
from pipeline.store.files import write_whole

REPORT, PAGE = "monitor.json", "monitor.html"
SERVED = (
    "How far the texts that were asked, and the answers, moved from those that the model was trained and tested on."
)
REMEDY = "Let the log grow, or take in more of it with an earlier --since"


@dataclass(frozen=True)
class Monitored:
    """What was found.

    Attributes:
        rows: int. Logged answers that were compared.
        metrics: list of Metric.
        page: Path.
    """

    rows: int
    metrics: list[Metric]
    page: Path

    @property
    def moved(self) -> list[Metric]:
        """The metrics beyond their limits."""
        return [metric for metric in self.metrics if not metric.passed]


def monitor(bundle: Path, model: str, version: str, log: Path, since: datetime | None, out: Path) -> Monitored:
    """Compare the logged answers of a version with the reference that was published with it.

    Texts are compared with the rows it was trained on, its answers with those it gave to the test rows where these are
    known, and with the training labels otherwise: a model that prefers a class does so without any drift.

    Args:
        bundle: Path. Of the published version; its recipe's `data.drift` has the limits.
        model: str. Name in the registry.
        version: str. Of the model; rows of others in the log are left out.
        log: Path. Folder of the Parquet files of `AnswerLog`.
        since: datetime or None. Older answers are left out.
        out: Path. Receives monitor.json and monitor.html.

    Raises:
        SourceError: the log is missing, is not one, or holds no answer of this version since then.
        DriftError: too few texts to compare, or the reference is missing or damaged.
    """
    card = json.loads((bundle / "bundle.json").read_text("utf-8"))
    metrics = json.loads((bundle / "metrics.json").read_text("utf-8"))
    recipe = yaml.safe_load((bundle / "recipe.yaml").read_text("utf-8"))
    limits = Drift.model_validate(recipe["data"].get("drift", {}))
    task = card["task"]
    rows = read_log(log, model, version, since)
    before, now = load(bundle / "reference", task), _reference(card["kind"], rows)
    require_enough(task, "the log has", now, REMEDY)
    require_enough(task, "the champion's rows have", before, REMEDY)
    found = text_metrics(before, now, limits)
    if now.labels:
        before = replace(before, labels=_answered(metrics) or before.labels)
        found.insert(0, replace(answer_metric(before, now, limits), name="answer_shift"))
    if (drop := _confidence_drop(metrics, rows)) is not None:
        meaning = "mean confidence on the test rows less that on the logged texts"
        found.append(
            Metric("confidence_drop", drop, limits.max_confidence_drop, "data.drift.max_confidence_drop", meaning)
        )
    _write(out, task, limits, before, now, found, f"{model} version {version}")
    return Monitored(len(rows), found, out / PAGE)


def read_log(folder: Path, model: str, version: str, since: datetime | None) -> pa.Table:
    """Return the logged rows of a version. Raises SourceError: there are none."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise SourceError(
            f"there is no log in {folder}; expected answers-*.parquet as `tradewind serve --log-answers 1` writes "
            "them, each minute and when it stops"
        )
    try:
        table = ds.dataset([str(file) for file in files], schema=SCHEMA, format="parquet").to_table()
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise SourceError(
            f"the log in {folder} cannot be read ({error}); expected Parquet files with the columns "
            f"{', '.join(SCHEMA.names)}. Remove the file that is none"
        ) from error
    wanted = pc.and_(pc.equal(table["model"], model), pc.equal(table["version"], version))
    if since is not None:
        wanted = pc.and_(wanted, pc.greater_equal(table["time"], pa.scalar(since, SCHEMA.field("time").type)))
    found = table.filter(wanted)
    if not len(found):
        others = {
            f"{one}:{number}"
            for one, number in zip(*table.select(["model", "version"]).to_pydict().values(), strict=True)
        }
        moment = f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
        raise SourceError(
            f"the log in {folder} has no answer of {model}:{version}{moment}; it has {len(table)} of "
            f"{', '.join(sorted(others)) or 'nobody'}"
        )
    return found


def _reference(kind: str, rows: pa.Table) -> Reference:
    answers = _answers(kind, [json.loads(answer) for answer in rows["answer"].to_pylist()])
    with TemporaryDirectory() as folder:
        profile, labels = Profile(Path(folder)), Labels(Path(folder))
        chunk = Chunk(rows.select(["text", "text_pair"]))
        profile.add(chunk, np.ones(len(rows), bool))
        if answers is not None:
            labels.add(chunk.hashes, rows["answer"].combine_chunks(), answers)
        return make_reference(profile, labels)


def _answers(kind: str, said: Sequence[dict[str, Any]]) -> pa.Array | None:
    """Return the answers as the label column of the kind would hold them; None where there are no labels to count."""
    match kind:
        case "classification":
            return pa.array([answer["label"] for answer in said], pa.string())
        case "multi_label":
            return pa.array([answer["labels"] for answer in said], pa.list_(pa.string()))
        case "regression":
            return pa.array([answer["value"] for answer in said], pa.float64())
        case "tagging":
            return pa.array([[word["tag"] for word in answer["words"]] for answer in said], pa.list_(pa.string()))
    return None


def _answered(metrics: dict[str, Any]) -> dict[str, int] | None:
    """Return how often each label was the answer to a test row; None where it is not known."""
    if "confusion_matrix" not in metrics:
        return None
    given = np.sum(metrics["confusion_matrix"], axis=0)
    return {label: int(count) for label, count in zip(metrics["labels"], given, strict=True)}


def _confidence_drop(metrics: dict[str, Any], rows: pa.Table) -> float | None:
    """Return how far the mean confidence has fallen since the test rows; None where it is not known."""
    bins = metrics.get("reliability")
    mean = pc.mean(rows["confidence"]).as_py()
    if not bins or mean is None:
        return None
    tested = np.average([each["confidence"] for each in bins], weights=[each["rows"] for each in bins])
    return max(0.0, float(tested) - float(mean))


def _write(
    out: Path, task: str, limits: Drift, before: Reference, now: Reference, found: Sequence[Metric], title: str
) -> None:
    values = {"settings": limits.model_dump(), "tasks": [described(task, before, now, found)], "without_champion": []}
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / REPORT, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(out / PAGE, drift_page(values, title, SERVED))
