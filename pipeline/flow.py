"""One run of a recipe: which step gets which artifacts, through the store, up to the registry and the report.

The same few methods serve the command line (`run`, `step`) and Airflow (`step`, once per task of the DAG).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backend import select_backend
from pipeline.config import Recipe, Settings
from pipeline.dates import Dates, render
from pipeline.deliveries import Deliveries
from pipeline.factors import Input, bundle_content
from pipeline.nodes import folder_of
from pipeline.outcome import Outcome, TaskOutcome, example_of, read_metrics
from pipeline.progress import Progress
from pipeline.registry import Version
from pipeline.registry.moves import whoami
from pipeline.search import Trial, search
from pipeline.start import START, find_start
from pipeline.steps import CHAMPION, GRAPH, SCRATCH, STEPS, node_name
from pipeline.store import Artifact, Store

if TYPE_CHECKING:
    from pipeline.cli.output import Display
    from pipeline.cluster.ray.jobs import End
    from pipeline.cluster.ray.launcher import Submitted

__all__ = ["STEPS", "Flow", "Outcome", "TaskOutcome"]


class Flow(Deliveries):
    """One run of one recipe, from its first step to its report."""

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        recipe_path: Path | str,
        settings: Settings,
        run_id: str | None = None,
        trigger: str = "cli",
        dates: Dates | None = None,
    ) -> Flow:
        """Return a new run, recorded in the store; an existing `run_id` with the same recipe goes on.

        Raises:
            BackendError: the recipe's backend is not installed; better known now than after an hour.
            IntegrityError: the keys for signatures cannot be used, or are not a pair.
            RecipeError: what it starts from is not there, or does not fit it; its sources read dates, and none are
                given; or a target lacks a library or a token.
            StoreError: the workspace cannot be written, or the run exists with another recipe.
        """
        recipe = render(recipe, dates)
        select_backend(recipe.runtime.backend)
        run_id = run_id or f"{recipe.name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"[:-3]
        flow = cls(recipe, run_id, settings)
        flow.check_publishing()
        start = find_start(recipe, flow.store)
        record = flow.store.runs.create(
            run_id,
            recipe.model_dump(mode="json"),
            recipe_name=recipe.name,
            trigger=f"{trigger}: {recipe_path}",
            dates=dates.record() if dates else None,
        )
        if isinstance(start, Artifact) and START not in record["nodes"]:  # a run keeps what it has begun with
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

    def run(
        self, tasks: Sequence[str] | None, restart_from: str | None, display: Display, approve: str | None = None
    ) -> Outcome:
        """Run every step, for all tasks or some, and return how it ended.

        Args:
            tasks: sequence of str. Names of tasks; None for all.
            restart_from: str. Step from which on everything is computed anew; None keeps what is there.
            display: Display. Shows progress.
            approve: str or None. Why what waits for a person is published; None: it goes on waiting.
        """
        started = time.monotonic()
        self._again = STEPS[STEPS.index(restart_from) :] if restart_from else ()
        chosen = list(tasks or self.recipe.tasks)
        for step in GRAPH.values():
            if not step.per_task:
                self.step(step.name, None, display)
        results = {task: self._run_task(task, display, approve) for task in chosen}
        report = self.finish("succeeded")
        return Outcome(self.run_id, results, report, time.monotonic() - started)

    def _run_task(self, task: str, display: Display, approve: str | None) -> TaskOutcome:
        judged = [step for step in GRAPH.values() if step.per_task and not step.part_of and step.name != "publish"]
        artifacts = {step.name: self.step(step.name, task, display) for step in judged if step.asked(self.recipe, task)}
        verdict = artifacts["gate"].result
        if approve is not None and verdict["verdict"] != "fail":
            self.decide(task, approved=True, who=whoami(), why=approve)
        version, withdrawn = None, []
        if self.stays_back(task) is None:
            version = self.publish(task, display)
            withdrawn = [version.stays_back] if version.withdrawn is not None else []
        champion, scratch = self._node(CHAMPION, task), self._node(SCRATCH, task)
        return TaskOutcome(
            verdict=verdict["verdict"],
            reasons=verdict["reasons"] + withdrawn,
            candidate=read_metrics(artifacts["evaluate"].path),
            baseline=read_metrics(artifacts["baseline"].path),
            champion=read_metrics(champion.path) if champion else None,
            scratch=read_metrics(scratch.path) if scratch else None,
            version=version.version if version and not withdrawn else None,
            model=self.model_name(task),
            example=example_of(artifacts["evaluate"].path),
            search=artifacts["finetune"].result if self.searched("finetune", task) else None,
            delivered=self.delivered(task),
            forced=None if verdict["verdict"] == "pass" else self.approved(task).force,
            waits=self.waits(task),
        )

    def step(
        self,
        name: str,
        task: str | None,
        display: Display,
        again: bool = False,
        end: End | None = None,
        trial: int | None = None,
    ) -> Artifact:
        """Run one step on the artifacts of the steps before it, and record it in the run.

        Args:
            name: str. The step, or `trial`.
            task: str or None. Its task, where it has one.
            display: Display. Shows progress.
            again: bool. Whether it is computed anew although its artifact is there.
            end: End or None. Of the job that `submit` gave and that has made the artifact, if it ended well.
            trial: int or None. Which trial of the task's search, from 1 on.

        Raises:
            StoreError: an artifact it starts from has not been made yet.
            TradewindError: whatever the step itself found wrong.
        """
        node = node_name(name, task, trial)
        self._again = (*self._again, name) if again else self._again
        with self._recorded(node):
            if trial is not None:
                return self._make_trial(task, trial, node, display, end)
            if self.searched(name, task):
                return self._search(task, node, display)
            if name == "preprocess":
                self._check_slices()
            if name == "gate":
                assert task is not None
                self._judge_champion(task, display)
                self._judge_scratch(task, display)
            return self._execute(GRAPH[name], task, self._inputs(GRAPH[name], task), node, display, end=end)

    def submit(self, name: str, task: str | None, progress: Progress, trial: int | None = None) -> Submitted | None:
        """Submit a step to the recipe's Ray cluster and leave it to itself; None when there is nothing to wait for.

        Raises:
            BackendError: Ray is not installed, or no cluster answers.
            StoreError: an artifact it starts from has not been made yet.
        """
        if self.searched(name, task):  # its trials are what trains
            return None
        with self._recorded(node_name(name, task, trial)):
            made = self if task is None or trial is None else self._trying(task, self._trial(task, trial).values, trial)
            launch = made._launch(GRAPH[name], task)
            if not (launch.wanted and launch.on_a_cluster):
                return None
            return None if made._finished(GRAPH[name], task) else launch.submit(progress)

    def open_trials(self, task: str, number: int) -> list[Trial]:
        """Return the trials of a round of a task's search, from 1 on; none when nothing is left to search."""
        search = self.recipe.tasks[task].finetune.search
        if search is None or self._finished(GRAPH["search"], task):
            return []
        return self.trials(task)[(number - 1) * search.parallel : number * search.parallel]

    def publish(self, task: str, display: Display) -> Version:
        """Make the export of a task's candidate, and register it.

        Raises:
            PublishError: the verdict is against it, the export answers otherwise, or the registry refused it.
        """
        allowed = self.approved(task)
        allowed.step("publish", task, display)
        return allowed.register(task)

    def finish(self, outcome: str) -> Path:
        """Record how the run ended, and render its report. Returns the page."""
        self.store.runs.finish(self.run_id, outcome)
        return self.report()

    def report(self) -> Path:
        """Render the report of the run from what its steps have written so far. Returns the page."""
        from pipeline.report import render

        record = self._record()
        artifacts = {
            node: self.store.get(entry["reference"]).path
            for node, entry in record["nodes"].items()
            if entry.get("reference")
        }
        return render(record, artifacts, self.store.root / "reports" / self.run_id)

    def _make_trial(self, task: str | None, number: int, node: str, display: Display, end: End | None) -> Artifact:
        assert task is not None
        trial = self._trial(task, number)
        made = self._trying(task, trial.values, number)
        step = GRAPH["trial"]
        return made._execute(step, task, made._inputs(step, task), node, display, {"values": trial.values}, end)

    def _search(self, task: str | None, node: str, display: Display) -> Artifact:
        """Run the trials of the task that are not done, and keep the best."""
        assert task is not None
        step, config = GRAPH["search"], self.recipe.tasks[task].finetune.search
        assert config is not None
        if self._computes_anew(step) or not self._finished(step, task):
            for number in range(1, config.trials + 1):
                self.step("trial", task, display, trial=number)

        def keep(out: Path) -> dict[str, Any]:
            return search(self.trials(task), out)

        return self._execute(step, task, self._inputs(step, task), node, display, work=keep)

    def _check_slices(self) -> None:
        """Raise SourceError when a column that slices go by is not there: better known now than after training."""
        tasks = {name: task for name, task in self.recipe.tasks.items() if task.evaluate.slices}
        if not tasks:
            return
        from pipeline.judge.slices import require_columns

        rows = self._made("validate", None).path
        for task in tasks.values():
            require_columns(rows, task.data.source, task.evaluate.slices)

    def _judge_champion(self, task: str, display: Display) -> None:
        """Let the champion answer the same test rows as the candidate, whatever data it was trained on."""
        candidate = self._made("finetune", task)
        champion = self.registry.opponent(self.model_name(task), candidate.fingerprint)
        node = node_name(CHAMPION, task)
        if champion is None:
            if self._node(CHAMPION, task):  # an earlier try of this run met one that has been taken back since
                self.store.runs.record(self.run_id, node, {"status": "absent"})
            return
        bundle = champion.checked_bundle()
        model = Input(bundle, bundle_content(bundle))
        self._evaluate(model, task, node, display, {"version": champion.version})

    def _judge_scratch(self, task: str, display: Display) -> None:
        """Let the same model without pretraining, where it is asked for, answer the same test rows."""
        if GRAPH["scratch"].asked(self.recipe, task):
            made = self._made("scratch", task)
            self._evaluate(Input(folder_of(made), made.content), task, node_name(SCRATCH, task), display, {})

    def _evaluate(self, model: Input, task: str, node: str, display: Display, facts: Mapping[str, Any]) -> None:
        """Let another model than the candidate answer the test rows."""
        tokens, rows = self._made("preprocess", None), self._made("validate", None)
        inputs = {
            "tokens": Input(tokens.path, tokens.content),
            "rows": Input(rows.path, rows.content),
            "model": model,
        }
        with self._recorded(node):
            self._execute(GRAPH["evaluate"], task, inputs, node, display, facts)
