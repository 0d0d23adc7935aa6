"""Times a few updates of a trial in each precision, on the backend of this process.

    KERAS_BACKEND=jax python -m pipeline.training.probe RESULTS < QUESTION

The question is JSON on the standard input; RESULTS gets one JSON line per precision as soon as it is known, so that a
process that is stopped has still told something.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from models.size import Dimensions
from pipeline.config import Pretrain

UPDATES, SECONDS = 5, 3.0
CLEARLY_SLOWER = 0.5


def main(results: Path, question: dict[str, Any]) -> None:
    """Answer the question.

    Args:
        results: Path. File to write lines to: precision, tokens_per_second, device.
        question: dict. The fields of `Trial`, `precisions`, and `best`: tokens per second that are to be beaten.
    """
    dimensions, config = Dimensions(**question["dimensions"]), Pretrain.model_validate(question["config"])

    from pipeline.training.hardware import device_name
    from pipeline.training.trial import Trial

    trial = Trial(dimensions, config, question["vocabulary_size"], question["sequence_length"], question["rows"])
    best = question["best"]
    with results.open("w") as file:
        for precision in question["precisions"]:
            speed = tokens_per_second(trial, precision, best)
            best = max(best, speed)
            line = {"precision": precision, "tokens_per_second": round(speed, 1), "device": device_name()}
            file.write(json.dumps(line) + "\n")
            file.flush()


def tokens_per_second(trial: Any, precision: str, best: float) -> float:
    """Return the speed of the fastest update after the first, which compiles; one slow update is told by itself."""
    stepper, batch = trial.start(precision)
    float(stepper.update(batch).loss)
    fastest, end = 0.0, time.perf_counter() + SECONDS
    for _ in range(UPDATES):
        start = time.perf_counter()
        float(stepper.update(batch).loss)  # waits for the device
        now = time.perf_counter()
        fastest = max(fastest, trial.rows * trial.sequence_length / (now - start))
        if now > end or fastest < CLEARLY_SLOWER * best:
            break
    return fastest


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.load(sys.stdin))
