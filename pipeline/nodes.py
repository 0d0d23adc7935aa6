"""The nodes of a run: which artifact each of them gets, and how it is made where it is not there yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.call import Call
from pipeline.cluster.launch import Launch
from pipeline.config import Recipe, Settings
from pipeline.errors import Interrupted, StoreError
from pipeline.factors import Input, factors_of
from pipeline.outcome import summary
from pipeline.progress import Progress
from pipeline.references import REFERENCE, collect_references
from pipeline.registry import Registry
from pipeline.search import Trial, known_trials, recipe_of_trial
from pipeline.start import START, find_start, start_input
from pipeline.steps import GRAPH, Step, node_name
from pipeline.store import Artifact, Factors, Store, View

if TYPE_CHECKING:
    from pipeline.cli.output import Display
    from pipeline.cluster.crew import Crew
    from pipeline.cluster.ray.jobs import End


class Nodes:
    """The nodes of one run of one recipe.

    Args:
        recipe: Recipe. What to run.
        run_id: str. Name of its record in the store.
        settings: Settings. Where the workspace and the registry are.

    Attributes:
        crew: Crew or None. The processes that help this one to train, where a launcher has started several.
        launched: bool. Whether this is the process that a launcher has started, which trains itself.
        force: str or None. Why models are published whatever their verdict.
    """

    def __init__(self, recipe: Recipe, run_id: str, settings: Settings) -> None:
        self.recipe = recipe
        self.run_id = run_id
        self.store = Store(settings.workspace)
        self.registry = Registry.for_workspace(settings)
        self.crew: Crew | None = None
        self.launched = False
        self.force: str | None = None
        self.number: int | None = None  # of the trial that it makes
        self._again: tuple[str, ...] = ()
        self._partial: dict[str, str] = {}  # node -> where it is at work, below `partial/`

    def model_name(self, task: str) -> str:
        """Return the registry's name for the model of a task."""
        return self.recipe.publish.registered_model.format(recipe=self.recipe.name, task=task)

    def searched(self, step: str, task: str | None) -> bool:
        """Return whether trials of a search make the node of this step."""
        return step == "finetune" and task is not None and self.recipe.tasks[task].finetune.search is not None

    def trials(self, task: str) -> list[Trial]:
        """Return the trials of a task's search that can be known by now; of a task without a search none."""
        search = self.recipe.tasks[task].finetune.search

        def finished(values: Mapping[str, Any]) -> Artifact | None:
            return self._trying(task, values)._finished(GRAPH["trial"], task)

        return known_trials(search, self.recipe.seed, finished) if search else []

    def _trial(self, task: str, number: int) -> Trial:
        """Return a trial that is done or can be made now.

        Raises:
            StoreError: it cannot, or there is none of this number.
        """
        search, known = self.recipe.tasks[task].finetune.search, self.trials(task)
        if not 1 <= number <= (search.trials if search else 0):
            have = f"has the trials 1 to {search.trials}" if search else "has no finetune.search"
            raise StoreError(f"received the trial {number}, and the task {task} {have}")
        if number > len(known):
            first = next(trial.number for trial in known if not trial.artifact)
            raise StoreError(
                f"trial {number} of {task} learns from trials before it, and trial {first} is not done; make it first: "
                f"`tradewind step finetune RECIPE --task {task} --trial {first}`, or all: without --trial"
            )
        return known[number - 1]

    def _trying(self, task: str, values: Mapping[str, Any], number: int | None = None) -> Self:
        """Return this run with the values of a trial in place of the task's search."""
        trying = copy(self)
        trying.recipe, trying.number = recipe_of_trial(self.recipe, task, values), number
        return trying

    def _inputs(self, step: Step, task: str | None) -> dict[str, Input]:
        inputs = {}
        for argument, upstream in step.inputs.items():
            if upstream in (REFERENCE, START):
                given = self._reference() if upstream == REFERENCE else self._start(step.name)
                if given:
                    inputs[argument] = given
                continue
            artifact = self._made(upstream, task) if upstream in GRAPH else self._node(upstream, task)
            if artifact:
                inputs[argument] = Input(folder_of(artifact), artifact.content)
        return inputs

    def _reference(self) -> Input | None:
        """Return what the rows may have drifted from, None when nothing has been published yet."""
        if self.recipe.data.drift.reference == "off":
            return None
        models = {task: self.model_name(task) for task in self.recipe.tasks}
        folder = self.store.root / "references" / self.run_id
        content = collect_references(self.registry, models, self._made("validate", None).path / REFERENCE, folder)
        return Input(folder, content) if content else None

    def _start(self, step: str) -> Input | None:
        """Return the backbone that the recipe starts from: the one that was found when the run began."""
        found = self._node(START, None) or find_start(self.recipe, self.store)
        return start_input(folder_of(found) if isinstance(found, Artifact) else found, step) if found else None

    def _execute(
        self,
        step: Step,
        task: str | None,
        inputs: Mapping[str, Input],
        node: str,
        display: Display,
        facts: Mapping[str, Any] | None = None,
        end: End | None = None,
        work: Callable[[Path], dict[str, Any]] | None = None,
    ) -> Artifact:
        """Return the artifact of a step, made now unless it is there, and record it.

        Args:
            step: Step. Whose function makes it.
            task: str or None. Its task, where it has one.
            inputs: mapping of str to Input. Function argument -> what it gets.
            node: str. Its name in the run.
            display: Display. Shows progress.
            facts: mapping or None. What the record says of it besides.
            end: End or None. Of the job that has made it.
            work: callable or None. Makes it, in a folder and in place of the step's function; returns the result.
        """
        started = time.monotonic()
        view = View(self.recipe, step.reads_of(task), step.uses)
        pretrained, cache = self._pretrained(step), self.store.root / "cache"
        call = Call(
            self.recipe, step, task, node, inputs, pretrained, cache, self.registry.mlflow, self.crew, self.force
        )
        with display.step(node) as progress:
            factors = factors_of(self.recipe, step, task, inputs, view, self.force)
            self._partial[node] = f"{step.name}/{factors.fingerprint()}"
            launch = self._launch(step, task)
            if launch.wanted and not (self.crew or self.launched or work):
                artifact = self._launched(launch, factors, progress, end)
            else:
                artifact = self.store.run(
                    step.name,
                    factors,
                    work or (lambda out: asdict(call(out, progress, factors.inputs))),
                    progress.say,
                    again=self._computes_anew(step),
                )
        seconds = end.seconds if end else time.monotonic() - started
        entry = {"reference": artifact.reference, "hit": artifact.hit, "seconds": round(seconds, 3), "status": "done"}
        self.store.runs.record(self.run_id, node, entry | dict(facts or {}))
        display.finished(node, artifact.hit, seconds, summary(step.name, artifact.result | dict(facts or {})))
        return artifact

    def _launch(self, step: Step, task: str | None) -> Launch:
        record, again = self.store.runs.path(self.run_id), self._computes_anew(step)
        return Launch(self.recipe, step, task, self.run_id, record, self.store.root, again, self.number)

    def _computes_anew(self, step: Step) -> bool:
        return not {step.name, step.part_of}.isdisjoint(self._again)

    def _launched(self, launch: Launch, factors: Factors, progress: Progress, end: End | None) -> Artifact:
        """Return an artifact that other processes have made or, unless it is there, make now."""
        if not (launch.again or end) and (found := self.store.finished(factors)):
            return found
        if end:
            end.check()
        else:
            launch.run(progress)
        return replace(self.store.get(f"{launch.step.name}/{factors.fingerprint()}"), hit=False)

    def _pretrained(self, step: Step) -> Mapping[str, Any] | None:
        """Return how the pretraining ended that a step which trains starts from."""
        return self._made("pretrain", None).result if step.trains and step.name != "pretrain" else None

    def _made(self, name: str, task: str | None) -> Artifact:
        """Return the artifact of a step: this run's, or else the one that the same recipe values gave before."""
        step = GRAPH["search" if self.searched(name, task) else name]
        task = task if step.per_task else None
        if artifact := self._node(name, task) or self._finished(step, task):
            return artifact
        option = f" --task {task}" if task else ""
        raise StoreError(
            f"the artifact of step {name!r} for these recipe values is not in {self.store.root}; make it first: "
            f"`tradewind step {name} RECIPE{option}`, or run the whole recipe: `tradewind run RECIPE`"
        )

    def _finished(self, step: Step, task: str | None) -> Artifact | None:
        """Return the artifact that the recipe's values give, when it is in the store."""
        view = View(self.recipe, step.reads_of(task), step.uses)
        return self.store.finished(factors_of(self.recipe, step, task, self._inputs(step, task), view, self.force))

    def _node(self, name: str, task: str | None) -> Artifact | None:
        """Return the artifact that this run has for a step already."""
        entry = self._record()["nodes"].get(node_name(name, task), {})
        return self.store.get(entry["reference"]) if entry.get("status") == "done" else None

    def _record(self) -> dict[str, Any]:
        return self.store.runs.load(self.run_id)

    @contextmanager
    def _recorded(self, node: str) -> Iterator[None]:
        """Record that a node is at work, and how it failed if it does."""
        self.store.runs.record(self.run_id, node, {"status": "running"})
        with self._guarded():
            try:
                yield
            except BaseException as error:
                entry = {"status": _status(error), "error": f"{type(error).__name__}: {error}"}
                left = {"partial": self._partial[node]} if node in self._partial else {}
                self.store.runs.record(self.run_id, node, entry | left)
                raise

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Record how the run ended if something fails."""
        try:
            yield
        except BaseException as error:
            self.store.runs.finish(self.run_id, _status(error))
            raise


def _status(error: BaseException) -> str:
    return "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"


def folder_of(artifact: Artifact) -> Path:
    """Return the folder that the next step reads: of a fine-tuning, its bundle."""
    return artifact.path / "bundle" if artifact.step in ("finetune", "search", "scratch") else artifact.path
