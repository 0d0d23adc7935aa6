"""Texts that a published model was trained on, and a log of those that it was asked."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.data.quality.drift.reference import make_reference, save
from pipeline.data.quality.figures.profile import Chunk, Labels, Profile
from pipeline.monitoring.log import AnswerLog

WORDS = {
    "sun": ["sun", "beach", "warm", "light", "summer", "sea", "sand", "holiday", "blue", "sky"],
    "snow": ["snow", "cold", "ice", "winter", "ski", "frost", "white", "hill", "sledge", "wool"],
}


def texts(number: int, seed: int, share: float = 0.5) -> list[tuple[str, str]]:
    """Texts with their label; `share` of them are sunny."""
    draw = random.Random(seed)
    labels = ["sun" if draw.random() < share else "snow" for _ in range(number)]
    return [(" ".join(draw.choices(WORDS[label], k=draw.randint(4, 9))), label) for label in labels]


def make_bundle(folder: Path) -> Path:
    """Write what monitoring reads of a published model that was trained on half sunny texts."""
    rows = texts(400, 1)
    profile, labels = Profile(folder / "work"), Labels(folder / "work")
    chunk = Chunk(pa.table({"text": [text for text, _ in rows]}))
    answers = pa.array([label for _, label in rows])
    profile.add(chunk, np.ones(len(rows), bool))
    labels.add(chunk.hashes, answers, answers)
    save(make_reference(profile, labels), folder / "reference", "weather")
    files = {
        "bundle.json": {"task": "weather", "kind": "classification"},
        "metrics.json": {
            "labels": ["snow", "sun"],
            "confusion_matrix": [[40, 10], [10, 40]],
            "reliability": [{"confidence": 0.8, "accuracy": 0.8, "rows": 50}, {"confidence": 1.0, "rows": 50}],
        },
        "recipe.yaml": {"data": {"drift": {"max_label_shift": 0.12}}},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def write(
    folder: Path, rows: list[tuple[str, str]], confidence: float = 0.9, model: str = "m", **options: object
) -> AnswerLog:
    """Log answers of version 1 of a model."""
    log = AnswerLog(folder, model, **options)
    for text, label in rows:
        log.add("1", [text], None, [{"label": label, "confidence": confidence, "top": []}])
    log.flush()
    return log
