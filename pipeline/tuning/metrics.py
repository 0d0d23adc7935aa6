"""The numbers that a fine-tuning is judged by while it trains, by the same rules as the finished model."""

from __future__ import annotations

import numpy as np

from pipeline.judge.metrics import headlines
from pipeline.training.watch.evaluation import Metric


def _macro_f1(counts: np.ndarray) -> float:
    """Return it of `class_counts`, (3, classes): hits, support, answers."""
    return float(headlines(*counts)["macro_f1"])


MACRO_F1 = Metric("macro_f1", _macro_f1)
