"""What a trained model's answers still need, taken from the validation rows: a temperature, or thresholds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.bundle import Bundle
from pipeline.measures.temperature import calibrate, fit_temperature
from pipeline.measures.thresholds import choose_thresholds
from pipeline.progress import Progress
from pipeline.tuning.labelled_task import LabelledTask

LEAST = float(np.finfo(np.float32).tiny)


def calibrated(bundle: Bundle, task: LabelledTask, progress: Progress) -> Bundle:
    """Return the bundle with the temperature of a classifier (Guo 2017), or the thresholds of a multi-label one.

    Args:
        bundle: Bundle. As trained.
        task: LabelledTask. Whose validation rows are answered.
        progress: Progress. Told what was chosen.
    """
    if bundle.kind not in ("classification", "multi_label"):
        return bundle
    truth, answers = task.answers("validation"), _answers(bundle, task)
    if bundle.kind == "multi_label":
        return replace(bundle, thresholds=tuple(choose_thresholds(truth.astype(bool), answers).tolist()))
    scores = np.log(np.clip(answers, LEAST, None))
    temperature = fit_temperature(scores, truth)
    before, after = (_log_loss(calibrate(scores, value), truth) for value in (1.0, temperature))
    progress.say(f"temperature {temperature:.3f}: log loss of the validation rows {before:.4f} -> {after:.4f}")
    return replace(bundle, temperature=temperature)


def _answers(bundle: Bundle, task: LabelledTask) -> Any:
    rows = pq.read_table(task.folder / "validation.parquet", columns=["text", "text_pair"]).to_pydict()
    return bundle.answer(rows["text"], rows["text_pair"] if any(rows["text_pair"]) else None)


def _log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    return -float(np.log(np.clip(probabilities[np.arange(len(truth)), truth], LEAST, None)).mean())
