"""Step `scratch`: the same model without pretraining, which says what pretraining is worth.

bundle/ and logs/, as `finetune` writes them
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Recipe
from pipeline.finetune import FinetuneResult, finetune
from pipeline.progress import Progress


def scratch(recipe: Recipe, task: str, tokens: Path, out: Path, progress: Progress) -> FinetuneResult:
    """Fine-tune the task from random weights: the same model, rows, seeds and schedule; it knows no backbone.

    Args:
        recipe: Recipe. Its `seed`, `model`, `tasks.<task>.finetune` and `runtime`.
        task: str. Name of the task.
        tokens: Path. The artifact of `preprocess`.
        out: Path. Folder to write into; checkpoints live in it until the step is done.
        progress: Progress. Shows loss, tokens per second and the time left.

    Raises:
        BackendError, TrainingError, Interrupted: as `finetune`.
    """
    return finetune(recipe, task, tokens, tokens, out, progress, initialize="scratch")
