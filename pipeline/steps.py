"""The graph: each step's function, what it reads of the recipe, and which artifacts it starts from."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import Recipe


@dataclass(frozen=True)
class Step:
    """One step of the flow.

    Attributes:
        name: str. Also the module `pipeline.<name>` and the function in it.
        reads: tuple of str. Recipe values that decide what it makes, so they are part of its fingerprint.
        inputs: dict of str to str. Function argument -> step whose artifact it gets, or what some runs have besides:
            `champion`, `reference`, `start`.
        uses: tuple of str. Recipe values it may read that cannot change what it makes.
        per_task: bool. Runs once per task, rather than once per recipe.
        asked_by: str. Recipe value that asks for it by not being `off`; empty: every run has it.
        part_of: str. The step that it is a part of, where a run has no node of its own for it.
    """

    name: str
    reads: tuple[str, ...]
    inputs: dict[str, str]
    uses: tuple[str, ...] = ()
    per_task: bool = True
    asked_by: str = ""
    part_of: str = ""

    @property
    def trains(self) -> bool:
        """Whether it trains a model."""
        return set(TRAINING) <= set(self.reads)

    @property
    def spreads(self) -> bool:
        """Whether it gives blocks of work to an engine, which may be a cluster."""
        return "runtime.data_engine" in self.uses

    @property
    def module(self) -> str:
        """Dotted name of the step's module."""
        return f"pipeline.{self.name}"

    def asked(self, recipe: Recipe, task: str | None) -> bool:
        """Whether a run of the recipe has the step, for this task."""
        value: Any = recipe
        for part in self.asked_by.replace("{task}", task or "").split(".") if self.asked_by else ():
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        return bool(value != "off")

    def load(self) -> Callable[..., Any]:
        """Import and return the step's function."""
        function: Callable[..., Any] = getattr(importlib.import_module(self.module), self.name)
        return function

    def reads_of(self, task: str | None) -> tuple[str, ...]:
        """Return `reads` for one task."""
        return tuple(path.replace("{task}", task or "*") for path in self.reads)


KIND, LONG = "tasks.{task}.data.kind", "tasks.{task}.data.long_texts"
PROMPT, DECODE = "tasks.{task}.data.prompt", "tasks.{task}.decode"
SPREADING = ("runtime.mesh", "runtime.fsdp_gather")  # changes the order of sums only
TRAINING = ("runtime.backend", "runtime.precision", "runtime.micro_batch_size")
CHECKPOINTING = ("runtime.checkpoint_seconds", "runtime.checkpoints_kept")
WATCHING = ("runtime.tracking", "runtime.profile")

# Evaluations of other models than the candidate, which a run may have.
CHAMPION, SCRATCH = "champion", "scratch_evaluate"

FINETUNE = Step(
    "finetune",
    ("seed", "model", "tasks.{task}.finetune", KIND, LONG, PROMPT, *TRAINING),
    {"tokens": "preprocess", "backbone": "pretrain"},
    uses=CHECKPOINTING + WATCHING + SPREADING,
)

GRAPH = {
    step.name: step
    for step in (
        Step("validate", ("data.sources", "data.checks", "tasks.*.data"), {}, per_task=False),
        Step(
            "drift",
            ("data.drift", "tasks.*.data"),
            {"rows": "validate", "reference": "reference"},
            per_task=False,
        ),
        Step(
            "preprocess",
            ("seed", "data.corpus", "preprocess", "tasks.*.data"),
            {"rows": "validate", "start": "start"},
            uses=("runtime.data_engine", "runtime.data_workers"),
            per_task=False,
        ),
        Step(
            "pretrain",
            ("seed", "model", "pretrain", *TRAINING),
            {"tokens": "preprocess", "start": "start"},
            uses=CHECKPOINTING + WATCHING + SPREADING,
            per_task=False,
        ),
        FINETUNE,
        replace(FINETUNE, name="trial", part_of="finetune"),
        replace(FINETUNE, name="search", part_of="finetune"),
        replace(FINETUNE, name="scratch", inputs={"tokens": "preprocess"}, asked_by="tasks.{task}.gate.scratch"),
        Step("baseline", ("seed", KIND), {"tokens": "preprocess"}),
        Step(
            "evaluate",
            ("tasks.{task}.evaluate", "tasks.{task}.gate.max_milliseconds", "tasks.{task}.data.source", KIND, DECODE),
            {"tokens": "preprocess", "model": "finetune", "rows": "validate"},
            uses=("runtime.backend",),
        ),
        Step(
            "gate",
            ("seed", "tasks.{task}.gate", "tasks.{task}.evaluate.slice_rows", KIND),
            {"candidate": "evaluate", "baseline": "baseline", "scratch": SCRATCH, "champion": CHAMPION},
        ),
        Step(
            "publish",
            (
                *("name", "publish.registered_model", "publish.golden_rows", "publish.formats", "publish.backends"),
                *("publish.license", "publish.adapters"),
                *(KIND, DECODE),
            ),
            {
                "model": "finetune",
                "evaluation": "evaluate",
                "verdict": "gate",
                "rows": "validate",
                "backbone": "pretrain",
            },
            uses=("runtime.backend",),
        ),
    )
}
STEPS = tuple(name for name, step in GRAPH.items() if not step.part_of)


def node_name(step: str, task: str | None, trial: int | None = None) -> str:
    """Return the name of a step in a run: `pretrain`, `finetune[chapter]`, or `trial[chapter 3]`."""
    where = " ".join(str(part) for part in (task, trial) if part)
    return f"{step}[{where}]" if where else step
