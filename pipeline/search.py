"""Step `search`: of the trials of a task the best becomes its fine-tuning.

Which trials there are follows from the recipe and the store, so every process that asks finds the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.config import Recipe, Search
from pipeline.config.search import Values, spoken_values, with_values
from pipeline.errors import RecipeError, TrainingError
from pipeline.store import Artifact
from pipeline.store.manifest import NAME
from pipeline.tuning.proposals import propose

TRAINED_BY = "pipeline.trial"  # named here, its source counts as a part of this step's


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        number: int. From 1 on.
        values: dict. Dotted key of `finetune` -> what is tried.
        artifact: Artifact or None. What it made, once it is done.
    """

    number: int
    values: Values
    artifact: Artifact | None = None

    @property
    def metric(self) -> float | None:
        """The task's metric on the validation rows; None before the end, and of one that diverged."""
        return self.artifact.result["value"] if self.artifact else None

    def label(self, task: str) -> str:
        """Return `team, trial 3: learning_rate=0.0003, dropout=0.1`."""
        return f"{task}, trial {self.number}: {spoken_values(self.values)}"

    def entry(self) -> dict[str, Any]:
        """Return what the search's result says of it."""
        assert self.artifact is not None
        result = self.artifact.result
        return {
            "trial": self.number,
            "values": self.values,
            "metric": self.metric,
            "diverged": result["diverged"],
            "seconds": self.artifact.seconds,
            "artifact": self.artifact.reference,
        }


def known_trials(search: Search, seed: int, finished: Callable[[Values], Artifact | None]) -> list[Trial]:
    """Return the trials that can be known by now: those of the rounds that are done, and of the next one.

    Args:
        search: Search. Of the task.
        seed: int. The recipe's.
        finished: callable. Returns what a trial with these values has made, None when it is not done.
    """
    trials: list[Trial] = []
    while len(trials) < search.trials and all(trial.artifact for trial in trials):
        told = [(trial.values, trial.metric) for trial in trials]
        proposed = enumerate(propose(search, seed, told), start=len(trials) + 1)
        trials += [Trial(number, values, finished(values)) for number, values in proposed]
    return trials


def recipe_of_trial(recipe: Recipe, task: str, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a trial trains by: with these values, and without the search.

    Raises:
        RecipeError: the recipe refuses them together.
    """
    plain = recipe.model_dump(mode="json")
    try:
        plain["tasks"][task]["finetune"] = with_values(recipe.tasks[task].finetune, values).model_dump(mode="json")
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise RecipeError(
            f"tasks.{task}.finetune.search.space allows {spoken_values(values)}, which the recipe refuses: "
            f"{error.errors()[0]['msg'].removeprefix('Value error, ')}"
        ) from error


def search(trials: Sequence[Trial], out: Path) -> dict[str, Any]:
    """Copy what the best trial made into `out`, and return its result with those of all trials.

    Args:
        trials: sequence of Trial. All done.
        out: Path. Folder to write into.

    Raises:
        TrainingError: all of them diverged.
    """
    best = max(trials, key=lambda trial: float("-inf") if trial.metric is None else trial.metric)  # the first of equals
    if best.metric is None:
        assert best.artifact is not None
        raise TrainingError(
            f"all {len(trials)} trials of the search diverged; the first: {best.artifact.result['diverged']} In "
            "finetune.search.space that is a lower learning_rate"
        )
    assert best.artifact is not None
    for source in best.artifact.path.iterdir():
        if source.is_dir():
            shutil.copytree(source, out / source.name, dirs_exist_ok=True)
        elif source.name != NAME:
            shutil.copy2(source, out / source.name)
    found: dict[str, Any] = best.artifact.result["finetuned"]
    return found | {"best_trial": best.number, "trials": [trial.entry() for trial in trials]}
