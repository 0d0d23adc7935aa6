"""Step `trial`: one fine-tuning of a search. Its folder is that of `finetune`, or has but logs when it diverged."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Recipe
from pipeline.errors import Diverged
from pipeline.finetune import finetune
from pipeline.progress import Progress
from pipeline.training.processes import process_id


@dataclass(frozen=True)
class TrialResult:
    """How one trial ended; of one that diverged only why.

    `value` is the validation `metric`, of several seeds their mean; `finetuned` is what `finetune` returned.
    """

    metric: str | None = None
    value: float | None = None
    diverged: str | None = None
    finetuned: dict[str, Any] | None = None


def trial(recipe: Recipe, task: str, tokens: Path, backbone: Path, out: Path, progress: Progress) -> TrialResult:
    """Fine-tune with the values that the recipe has now; arguments and errors as of `finetune`.

    A loss that runs away is a finding of the search, and no error.
    """
    try:
        found = finetune(recipe, task, tokens, backbone, out, progress)
    except Diverged as error:
        progress.say(f"diverged, so it counts as the worst: {error}")
        if process_id() == 0:
            for folder in out.iterdir():
                if folder.is_dir() and folder.name != "logs":
                    shutil.rmtree(folder)
        return TrialResult(diverged=str(error))
    value = found.validation_metric if found.seeds_mean is None else found.seeds_mean
    return TrialResult(found.metric, value, finetuned=asdict(found))
