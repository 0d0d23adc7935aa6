"""One call of a step's function: with the recipe values it may read, and what a training wants besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backend import select_backend
from pipeline.config import Recipe
from pipeline.factors import Input, recipe_yaml, require_unchanged
from pipeline.presets.folder import trains_further
from pipeline.progress import Progress
from pipeline.registry import Mlflow
from pipeline.steps import Step
from pipeline.store import View

if TYPE_CHECKING:
    from pipeline.cluster.crew import Crew


@dataclass(frozen=True)
class Call:
    """A step about to run.

    Attributes:
        recipe: Recipe. The whole recipe.
        step: Step. Whose function is called.
        task: str or None. The task, where the step has one.
        node: str. What it is called in the run.
        inputs: mapping of str to Input. Function argument -> what it gets.
        pretrained: mapping or None. The result of the pretraining that this one starts from.
        cache: Path. Folder of what is measured and compiled once per machine.
        mlflow: Mlflow. Where curves go.
        crew: Crew or None. The other processes that a training has; None: it has none.
        force: str or None. Why a model is published whatever the verdict; None: it is not.
    """

    recipe: Recipe
    step: Step
    task: str | None
    node: str
    inputs: Mapping[str, Input]
    pretrained: Mapping[str, Any] | None
    cache: Path
    mlflow: Mlflow
    crew: Crew | None = None
    force: str | None = None

    def __call__(self, out: Path, progress: Progress, contents: Mapping[str, str]) -> Any:
        """Run the step and return its result.

        Args:
            out: Path. Folder to write into.
            progress: Progress. Told what happens.
            contents: mapping. Hash of each input when the step was fingerprinted; sources must have it still.
        """
        recipe = self._prepared(progress) if self.step.trains else self.recipe
        view = View(recipe, self.step.reads_of(self.task), self.step.uses)
        with self._tracked(view, out, progress) as watching:

            def run() -> Any:
                return self.step.load()(recipe=view, out=out, progress=watching, **self._arguments())

            if self.crew and self.step.trains:
                compiled = self.cache / "compiled"
                result = self.crew.call(recipe, self.step.name, self._arguments(), out, compiled, run)
            else:
                result = run()
        if self.step.name == "validate":
            require_unchanged(self.recipe, contents)
        return result

    def _arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = dict.fromkeys(self.step.inputs)
        arguments |= {argument: given.path for argument, given in self.inputs.items()}
        if self.step.per_task:
            arguments["task"] = self.task
        if self.step.name == "publish":
            assert self.task is not None
            arguments["recipe_yaml"] = recipe_yaml(self.recipe, self.task)
            arguments["force"] = self.force
        return arguments

    def _prepared(self, progress: Progress) -> Recipe:
        """Return the recipe with what `auto` stands for, on a backend that keeps what it compiles.

        The fingerprint has `auto`, so it is the same everywhere.
        """
        from pipeline.resolve import with_resolved_runtime
        from pipeline.training.compile_cache import keep_compiled

        tokens, start = self.inputs["tokens"].path, self.inputs.get("start")
        recipe = self.recipe
        if self.step.name != "pretrain" or trains_further(recipe.pretrain, start.path if start else None):
            recipe = with_resolved_runtime(
                recipe, self.step, tokens, self.pretrained, self.cache / "speed", progress.say
            )
        keep_compiled(select_backend(recipe.runtime.backend), self.cache / "compiled")
        return recipe

    @contextmanager
    def _tracked(self, view: View, out: Path, progress: Progress) -> Iterator[Progress]:
        if not self.step.trains:
            yield progress
            return
        from pipeline.tracking import Run, tracking

        run = Run(self.mlflow, self.recipe.name, self.node, view.leaves())
        with tracking(self.recipe.runtime.tracking, out, run, progress) as watching:
            yield watching
