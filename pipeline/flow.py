"""One run of a recipe: which step gets which artifacts, through the store, up to the registry and the report.

The same few methods serve the command line (`run`, `step`) and Airflow (`step`, once per task of the DAG).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backend import select_backend
from pipeline.call import Call
from pipeline.cluster.launch import Launch
from pipeline.config import Recipe, Settings
from pipeline.errors import Interrupted, StoreError
from pipeline.factors import Input, bundle_content, factors_of
from pipeline.outcome import Outcome, TaskOutcome, example_of, read_metrics, summary
from pipeline.progress import Progress
from pipeline.references import REFERENCE, collect_references
from pipeline.registry import Registry, Version
from pipeline.start import find_start, start_input
from pipeline.steps import GRAPH, STEPS, Step, node_name
from pipeline.store import Artifact, Factors, Store, View

if TYPE_CHECKING:
    from pipeline.cli.output import Display
    from pipeline.cluster.crew import Crew
    from pipeline.cluster.ray.jobs import End
    from pipeline.cluster.ray.launcher import Submitted

__all__ = ["STEPS", "Flow", "Outcome", "TaskOutcome"]

START = "start"


class Flow:
    """One run of one recipe.

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
        self._again: tuple[str, ...] = ()

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        recipe_path: Path | str,
        settings: Settings,
        run_id: str | None = None,
        trigger: str = "cli",
    ) -> Flow:
        """Return a new run, recorded in the store; an existing `run_id` with the same recipe goes on.

        Raises:
            BackendError: the recipe's backend is not installed; better known now than after an hour.
            RecipeError: what it starts from is not there, or does not fit it.
            StoreError: the workspace cannot be written, or the run exists with another recipe.
        """
        select_backend(recipe.runtime.backend)
        run_id = run_id or f"{recipe.name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"[:-3]
        flow = cls(recipe, run_id, settings)
        start = find_start(recipe, flow.store)
        flow.store.runs.create(
            run_id, recipe.model_dump(mode="json"), recipe_name=recipe.name, trigger=f"{trigger}: {recipe_path}"
        )
        if isinstance(start, Artifact):
            entry = {"reference": start.reference, "hit": start.hit, "seconds": 0.0, "status": "done"}
            flow.store.runs.record(run_id, START, entry)
        return flow

    @classmethod
    def resume(cls, run_id: str, settings: Settings) -> Flow:
        """Return a recorded run. Raises StoreError when there is none."""
        record = Store(settings.workspace).runs.load(run_id)
        recipe = Recipe.model_validate(record["recipe"])
        select_backend(recipe.runtime.backend)
        return cls(recipe, run_id, settings)

    def run(self, tasks: Sequence[str] | None, restart_from: str | None, display: Display) -> Outcome:
        """Run every step, for all tasks or some, and return how it ended.

        Args:
            tasks: sequence of str. Names of tasks; None for all.
            restart_from: str. Step from which on everything is computed anew; None keeps what is there.
            display: Display. Shows progress.
        """
        started = time.monotonic()
        self._again = STEPS[STEPS.index(restart_from) :] if restart_from else ()
        chosen = list(tasks or self.recipe.tasks)
        for step in GRAPH.values():
            if not step.per_task:
                self.step(step.name, None, display)
        results = {task: self._run_task(task, display) for task in chosen}
        report = self.finish("succeeded")
        return Outcome(self.run_id, results, report, time.monotonic() - started)

    def _run_task(self, task: str, display: Display) -> TaskOutcome:
        artifacts = {name: self.step(name, task, display) for name in ("finetune", "baseline", "evaluate", "gate")}
        verdict = artifacts["gate"].result
        version = None
        if verdict["verdict"] == "pass" or self.force is not None:
            self.step("publish", task, display)
            version = self.register(task)
        champion = self._node("champion", task)
        return TaskOutcome(
            verdict=verdict["verdict"],
            reasons=verdict["reasons"],
            candidate=read_metrics(artifacts["evaluate"].path),
            baseline=read_metrics(artifacts["baseline"].path),
            champion=read_metrics(champion.path) if champion else None,
            version=version.version if version else None,
            model=self.model_name(task),
            example=example_of(artifacts["evaluate"].path),
            forced=None if verdict["verdict"] == "pass" else self.force,
        )

    def step(
        self, name: str, task: str | None, display: Display, again: bool = False, end: End | None = None
    ) -> Artifact:
        """Run one step on the artifacts of the steps before it, and record it in the run.

        Args:
            name: str. The step.
            task: str or None. Its task, where it has one.
            display: Display. Shows progress.
            again: bool. Whether it is computed anew although its artifact is there.
            end: End or None. Of the job that `submit` gave and that has made the artifact, if it ended well.

        Raises:
            StoreError: an artifact it starts from has not been made yet.
            TradewindError: whatever the step itself found wrong.
        """
        step, node = GRAPH[name], node_name(name, task)
        self._again = (*self._again, name) if again else self._again
        with self._recorded(node):
            if name == "gate":
                self._judge_champion(task, display)
            return self._execute(step, task, self._inputs(step, task), node, display, end=end)

    def submit(self, name: str, task: str | None, progress: Progress) -> Submitted | None:
        """Submit a step to the recipe's Ray cluster and leave it to itself; None when there is nothing to wait for.

        Raises:
            BackendError: Ray is not installed, or no cluster answers.
            StoreError: an artifact it starts from has not been made yet.
        """
        launch = self._launch(GRAPH[name], task)
        if not (launch.wanted and launch.on_a_cluster):
            return None
        with self._recorded(node_name(name, task)):
            return None if self._finished(GRAPH[name], task) else launch.submit(progress)

    def register(self, task: str) -> Version:
        """Register the published export of a task and move the champion to it; nothing happens the second time.

        Raises:
            PublishError: the registry refused it, or the champion has changed since the verdict.
        """
        publish, gate = self._made("publish", task), self._made("gate", task)
        finetune, evaluation = self._made("finetune", task), self._made("evaluate", task)
        against = self._record()["nodes"].get(node_name("champion", task), {}).get("version")
        metrics = {name: value for name, value in read_metrics(evaluation.path).items() if isinstance(value, float)}
        forced = {"forced": reason} if (reason := publish.result.get("forced")) else {}
        with self._guarded():
            version = self.registry.publish(
                self.model_name(task),
                publish.path / "export",
                fingerprint=finetune.fingerprint,
                publish_reference=publish.reference,
                expected_champion=against,
                tags={"gate": gate.reference, "run": self.run_id, "recipe": self.recipe.name, "task": task} | forced,
                metrics=metrics,
                params={
                    "seed": self.recipe.seed,
                    "size": self.recipe.model.size,
                    "backend": self.recipe.runtime.backend,
                },
                experiment=self.recipe.name,
            )
        entry = self._record()["nodes"][node_name("publish", task)]
        self.store.runs.record(self.run_id, node_name("publish", task), entry | {"version": version.version})
        return version

    def finish(self, outcome: str) -> Path:
        """Record how the run ended, and render its report from what its steps wrote. Returns the page."""
        from pipeline.report import render

        self.store.runs.finish(self.run_id, outcome)
        record = self._record()
        artifacts = {
            node: self.store.get(entry["reference"]).path
            for node, entry in record["nodes"].items()
            if entry.get("reference")
        }
        return render(record, artifacts, self.store.root / "reports" / self.run_id)

    def model_name(self, task: str) -> str:
        """Return the registry's name for the model of a task."""
        return self.recipe.publish.registered_model.format(recipe=self.recipe.name, task=task)

    def _judge_champion(self, task: str | None, display: Display) -> None:
        """Let the champion answer the same test rows as the candidate, whatever data it was trained on."""
        assert task is not None
        candidate = self._made("finetune", task)
        champion = self.registry.opponent(self.model_name(task), candidate.fingerprint)
        node = node_name("champion", task)
        if champion is None:
            if self._node("champion", task):  # an earlier try of this run met one that has been taken back since
                self.store.runs.record(self.run_id, node, {"status": "absent"})
            return
        tokens, rows = self._made("preprocess", None), self._made("validate", None)
        inputs = {
            "tokens": Input(tokens.path, tokens.content),
            "rows": Input(rows.path, rows.content),
            "model": Input(champion.bundle, bundle_content(champion.bundle)),
        }
        with self._recorded(node):
            self._execute(GRAPH["evaluate"], task, inputs, node, display, {"version": champion.version})

    def _inputs(self, step: Step, task: str | None) -> dict[str, Input]:
        inputs = {}
        for argument, upstream in step.inputs.items():
            if upstream in (REFERENCE, START):
                given = self._reference() if upstream == REFERENCE else self._start(step.name)
                if given:
                    inputs[argument] = given
                continue
            artifact = self._node("champion", task) if upstream == "champion" else self._made(upstream, task)
            if artifact:
                inputs[argument] = Input(_folder(artifact), artifact.content)
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
        return start_input(_folder(found) if isinstance(found, Artifact) else found, step) if found else None

    def _execute(
        self,
        step: Step,
        task: str | None,
        inputs: Mapping[str, Input],
        node: str,
        display: Display,
        facts: Mapping[str, Any] | None = None,
        end: End | None = None,
    ) -> Artifact:
        started = time.monotonic()
        view = View(self.recipe, step.reads_of(task), step.uses)
        pretrained, cache = self._pretrained(step), self.store.root / "cache"
        call = Call(self.recipe, step, task, inputs, pretrained, cache, self.registry.mlflow, self.crew, self.force)
        with display.step(node) as progress:
            factors = factors_of(self.recipe, step, task, inputs, view, self.force)
            launch = self._launch(step, task)
            if launch.wanted and not (self.crew or self.launched):
                artifact = self._launched(launch, factors, progress, end)
            else:
                artifact = self.store.run(
                    step.name,
                    factors,
                    lambda out: asdict(call(out, progress, factors.inputs)),
                    progress.say,
                    again=step.name in self._again,
                )
        seconds = end.seconds if end else time.monotonic() - started
        entry = {"reference": artifact.reference, "hit": artifact.hit, "seconds": round(seconds, 3), "status": "done"}
        self.store.runs.record(self.run_id, node, entry | dict(facts or {}))
        display.finished(node, artifact.hit, seconds, summary(step.name, artifact.result))
        return artifact

    def _launch(self, step: Step, task: str | None) -> Launch:
        record = self.store.runs.path(self.run_id)
        return Launch(self.recipe, step, task, self.run_id, record, self.store.root, step.name in self._again)

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
        step = GRAPH[name]
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
                self.store.runs.record(self.run_id, node, entry)
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


def _folder(artifact: Artifact) -> Path:
    """Return the folder that the next step reads: of a fine-tuning, its bundle."""
    return artifact.path / "bundle" if artifact.step == "finetune" else artifact.path
