"""The recipe: what to train, on what, and how it is judged; and the settings that come from the environment.

Every key of a recipe file is a field here; unknown keys are errors. The JSON schema of `Recipe` fills the Airflow
trigger form and the reference in `docs/`. Reading and overriding recipe files is `pipeline/recipes.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.config.airflow import Airflow, Monitor, Notify
from pipeline.config.checks import Checks, ColumnCheck, Drift, Expectation
from pipeline.config.finetuning import Finetune, Lora
from pipeline.config.generation import Decode, check_writer, names_in
from pipeline.config.judging import Evaluate, Gate
from pipeline.config.preprocess import Clean, Deduplicate, Filters, NearDuplicates, Preprocess, Split, Tokenizer
from pipeline.config.running import Mesh, Publish, Ray, Runtime
from pipeline.config.search import Range, Search
from pipeline.config.section import Fraction, Name, Section, Severity
from pipeline.config.settings import Settings, resolve_secrets
from pipeline.config.sources import Columns, FilesSource, Icd10Source, Source, SplitName, SqlSource
from pipeline.config.target_urls import check_told_apart
from pipeline.config.task import Task, TaskData
from pipeline.config.training import Model, Optimization, Pretrain

__all__ = [
    "Airflow",
    "Checks",
    "Clean",
    "ColumnCheck",
    "Columns",
    "Data",
    "Decode",
    "Deduplicate",
    "Drift",
    "Evaluate",
    "Expectation",
    "FilesSource",
    "Filters",
    "Finetune",
    "Fraction",
    "Gate",
    "Icd10Source",
    "Lora",
    "Mesh",
    "Model",
    "Monitor",
    "Name",
    "NearDuplicates",
    "Notify",
    "Optimization",
    "Preprocess",
    "Pretrain",
    "Publish",
    "Range",
    "Ray",
    "Recipe",
    "Runtime",
    "Search",
    "Section",
    "Settings",
    "Severity",
    "Source",
    "Split",
    "SplitName",
    "SqlSource",
    "Task",
    "TaskData",
    "Tokenizer",
    "resolve_secrets",
]


class Data(Section):
    """Where the rows come from and what they must satisfy."""

    sources: dict[Name, Source] = Field(min_length=1)
    corpus: list[str] = Field(default_factory=list, description="sources to pretrain on; default: all")
    checks: Checks = Checks()
    drift: Drift = Drift()


class Recipe(Section):
    """One scheduled training: sources, preprocessing, pretraining, and the tasks to fine-tune, judge and publish."""

    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(17, description="of weights, order, masks and resampling")
    data: Data
    preprocess: Preprocess = Preprocess()
    model: Model = Model()
    pretrain: Pretrain = Pretrain()
    tasks: dict[Name, Task] = Field(min_length=1)
    publish: Publish = Publish()
    runtime: Runtime = Runtime()
    airflow: Airflow = Airflow()
    monitor: Monitor | None = Field(None, description="a DAG that watches what was published; default: there is none")

    @model_validator(mode="before")
    @classmethod
    def _vocabulary_is_kept(cls, values: Any) -> Any:
        """A backbone that is started from keeps its tokenizer, unless the recipe names one."""
        pretrain = (values.get("pretrain") or {}) if isinstance(values, dict) else {}
        start = pretrain.get("start_from") if isinstance(pretrain, dict) else None
        preprocess = (values.get("preprocess") or {}) if start else {}
        if not start or not isinstance(preprocess, dict) or "tokenizer" in preprocess:
            return values
        return values | {"preprocess": preprocess | {"tokenizer": {"kind": "start"}}}

    @model_validator(mode="after")
    def _vocabulary_has_a_start(self) -> Recipe:
        if self.preprocess.tokenizer.kind == "start" and self.pretrain.start_from is None:
            raise ValueError(
                "preprocess.tokenizer.kind is start, and pretrain.start_from names no backbone whose tokenizer it "
                "could be; set pretrain.start_from, or another kind"
            )
        return self

    @model_validator(mode="after")
    def _sources_exist(self) -> Recipe:
        known = ", ".join(self.data.sources)
        for name in self.data.corpus:
            if name not in self.data.sources:
                raise ValueError(f"data.corpus names {name!r}, which data.sources does not define; it has: {known}")
        for key in ("expectations", "columns"):
            for name in getattr(self.data.checks, key):
                if name not in self.data.sources:
                    raise ValueError(f"data.checks.{key} names {name!r}; data.sources has: {known}")
        for name, task in self.tasks.items():
            if task.data.source not in self.data.sources:
                raise ValueError(f"tasks.{name}.data.source is {task.data.source!r}; data.sources has: {known}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _case_is_written(cls, values: Any) -> Any:
        """A model writes what its tokenizer knows: both cases, unless the recipe says otherwise."""
        tasks = values.get("tasks") if isinstance(values, dict) else None
        tasks = [task for task in tasks.values() if isinstance(task, dict)] if isinstance(tasks, dict) else []
        sections = [data for task in tasks if isinstance(data := task.get("data"), dict)]
        if all(data.get("kind") != "generation" for data in sections):
            return values
        preprocess = values.get("preprocess") or {}
        tokenizer = (preprocess.get("tokenizer") or {}) if isinstance(preprocess, dict) else None
        kept = bool((values.get("pretrain") or {}).get("start_from")) and not tokenizer
        if not isinstance(tokenizer, dict) or "lowercase" in tokenizer or kept:
            return values
        return values | {"preprocess": preprocess | {"tokenizer": tokenizer | {"lowercase": False}}}

    @model_validator(mode="after")
    def _writers_write(self) -> Recipe:
        architecture = self.model.architecture
        for name, task in self.tasks.items():
            if task.data.kind == "generation":
                check_writer(name, architecture, self.publish.formats)
                task.finetune.check_architecture(f"tasks.{name}.finetune", architecture)
        return self

    @model_validator(mode="after")
    def _groups_are_learned(self) -> Recipe:
        if not self.pretrain.group_weight:
            return self
        if self.model.architecture != "encoder":
            raise ValueError(
                f"pretrain.group_weight is {self.pretrain.group_weight:g}, which an encoder learns by, and "
                f"model.architecture is {self.model.architecture}; set it to encoder, or remove group_weight"
            )
        corpus = self.data.corpus or list(self.data.sources)
        if not any(getattr(self.data.sources.get(name), "group", None) for name in corpus):
            raise ValueError(
                f"pretrain.group_weight is {self.pretrain.group_weight:g}, and no source of the corpus "
                f"({', '.join(corpus)}) has groups; name their column with data.sources.{corpus[0]}.group, or remove "
                "group_weight"
            )
        return self

    @model_validator(mode="after")
    def _questions_are_read(self) -> Recipe:
        for name, task in self.tasks.items():
            alone = getattr(self.data.sources[task.data.source], "text_pair", None) is None
            if alone and task.data.prompt and "text_pair" in names_in(task.data.prompt):
                raise ValueError(
                    f"tasks.{name}.data.prompt has {{text_pair}}, and data.sources.{task.data.source} has no second "
                    f"text; name its column with data.sources.{task.data.source}.text_pair, or leave it out"
                )
            if task.data.kind != "question_answering":
                continue
            if alone:
                raise ValueError(
                    f"tasks.{name}.data.kind is question_answering, which needs a question beside each text; name its "
                    f"column with data.sources.{task.data.source}.text_pair"
                )
            if self.model.architecture == "decoder":
                raise ValueError(
                    f"tasks.{name}.data.kind is question_answering, and a decoder reads the text before it knows the "
                    "question; set model.architecture to encoder"
                )
        return self

    @model_validator(mode="after")
    def _batches_divide(self) -> Recipe:
        micro = self.runtime.micro_batch_size
        sizes = [("pretrain", self.pretrain.global_batch_size)]
        for name, task in self.tasks.items():
            sizes += [(f"tasks.{name}.finetune", variant.global_batch_size) for variant in task.finetune.variants()]
        for path, batch in sizes:
            if micro and batch and batch % micro and micro < batch:
                raise ValueError(
                    f"{path}.global_batch_size is {batch}, not a multiple of runtime.micro_batch_size ({micro}); "
                    "make one divide the other"
                )
        return self

    @model_validator(mode="after")
    def _kernels_stay_whole(self) -> Recipe:
        for name, task in self.tasks.items():
            if self.runtime.precision == "float8" and task.finetune.method != "full":
                raise ValueError(
                    f"runtime.precision is float8, which quantises kernels, and tasks.{name}.finetune.method "
                    f"{task.finetune.method} freezes them; set runtime.precision to mixed_bfloat16, or the method to "
                    "full"
                )
        return self

    @model_validator(mode="after")
    def _adapters_are_trained(self) -> Recipe:
        tasks = self.tasks.values()
        if self.publish.adapters and not any(
            each.method == "lora" for task in tasks for each in task.finetune.variants()
        ):
            raise ValueError(
                "publish.adapters is true, and no task trains adapters; set tasks.<task>.finetune.method to lora, or "
                "publish.adapters to false"
            )
        return self

    @model_validator(mode="after")
    def _models_are_told_apart(self) -> Recipe:
        pattern = self.publish.registered_model
        try:
            names = {pattern.format(recipe=self.name, task=task) for task in self.tasks}
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"publish.registered_model is {pattern!r}; it may hold {{recipe}} and {{task}}, nothing else in braces"
            ) from error
        if odd := sorted(name for name in names if set(name) & set("/:@") or not name.strip() or name in (".", "..")):
            raise ValueError(
                f"publish.registered_model is {pattern!r}, which names a model {odd[0]!r}; a name has no / : @ in it"
            )
        if len(names) < len(self.tasks):
            raise ValueError(
                f"publish.registered_model is {pattern!r}, one name for {len(self.tasks)} tasks, which would replace "
                "each other's champion; put {task} into it"
            )
        check_told_apart(self.publish.targets, self.name, list(self.tasks))
        return self
