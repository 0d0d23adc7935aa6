"""The recipe: what to train, on what, and how it is judged; and the settings that come from the environment.

Every key of a recipe file is a field here; unknown keys are errors. The JSON schema of `Recipe` fills the Airflow
trigger form and the reference in `docs/`. Reading and overriding recipe files is `pipeline/recipes.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Severity = Literal["critical", "warning"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", description="lower-case letters, digits, - and _")]
GATE_METRICS = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1")


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Icd10Source(Section):
    """The ICD-10-CM classification that the `simple-icd-10-cm` package ships.

    Columns: `text`, `kind` (description, inclusion_term, note), `code`, `category` (three characters), `chapter`,
    `completeness` (billable, seventh_character, more_detail).
    """

    kind: Literal["icd10cm"]
    group: str | None = Field("category", description="column whose rows never cross the split")


class FilesSource(Section):
    """Local files, one row a line (or a record)."""

    kind: Literal["files"] = "files"
    path: str | list[str] = Field(description="file or glob, or a list of them; relative to the working folder")
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "text"] = Field(
        "auto", description="`auto` goes by the suffix; `text` is one document a line"
    )
    text: str = Field("text", description="column that holds the text")
    group: str | None = Field(None, description="column whose rows never cross the split; default: equal texts")


Source = Annotated[Icd10Source | FilesSource, Field(discriminator="kind")]


class Expectation(Section):
    """One more Great Expectations check, by its own name: `{type: expect_column_values_to_be_in_set, ...}`."""

    type: str = Field(pattern=r"^expect_[a-z_]+$")
    severity: Severity = "critical"
    arguments: dict[str, Any] = Field(default_factory=dict)


class Checks(Section):
    """What the rows must satisfy. Row-level breaches go to quarantine; table-level ones stop the run or warn."""

    min_rows: PositiveInt = Field(20, description="fewest sound rows a source may have")
    min_characters: PositiveInt = Field(2, description="shortest text kept")
    max_characters: PositiveInt = Field(10_000, description="longest text kept")
    min_rows_per_label: PositiveInt = Field(5, description="a rarer label is reported")
    max_quarantined: Fraction = Field(0.05, description="a larger share of quarantined rows stops the run")
    max_duplicates: Fraction = Field(0.5, description="a larger share of repeated texts is reported")
    max_conflicting_labels: Fraction = Field(
        0.01, description="a larger share of texts that carry more than one label is reported"
    )
    expectations: dict[str, list[Expectation]] = Field(
        default_factory=dict, description="further checks per source name"
    )


class Data(Section):
    """Where the rows come from and what they must satisfy."""

    sources: dict[Name, Source] = Field(min_length=1)
    corpus: list[str] = Field(default_factory=list, description="sources to pretrain on; default: all")
    checks: Checks = Checks()


class Split(Section):
    """How rows are dealt into train, validation and test: by hash of their group, so it is stable under additions."""

    validation: Annotated[float, Field(gt=0, lt=0.5)] = Field(0.1, description="share of the groups")
    test: Annotated[float, Field(gt=0, lt=0.5)] = Field(0.1, description="share of the groups; judged once, at the end")
    salt: str = Field("tradewind", description="another salt deals another split")


class Tokenizer(Section):
    """The byte-level BPE tokenizer, trained on the training rows of the corpus."""

    vocabulary_size: Annotated[int, Field(ge=300, le=65_000)] = Field(8192, description="most tokens it may have")
    lowercase: bool = Field(True, description="treat upper and lower case alike")


class Preprocess(Section):
    """From sound rows to packed token shards."""

    split: Split = Split()
    tokenizer: Tokenizer = Tokenizer()
    sequence_length: Annotated[int, Field(ge=8, le=8192)] = Field(
        128, description="tokens in a packed row; longer documents are cut into several, longer examples truncated"
    )
    rows_per_shard: PositiveInt = Field(65_536, description="most packed rows in one file")


class Model(Section):
    """The encoder. `size` derives every dimension; a dimension given here overrides the derived one."""

    size: Literal["tiny", "mini", "small", "base"] = Field(
        "mini", description="1.4, 2.9, 13.8 or 91 million parameters with 8192 tokens"
    )
    num_layers: PositiveInt | None = Field(None, description="blocks")
    hidden_dim: PositiveInt | None = Field(None, description="width; a multiple of twice num_heads")
    num_heads: PositiveInt | None = Field(None, description="query heads of the attention")
    num_key_value_heads: PositiveInt | None = Field(None, description="key and value heads; divides num_heads")
    feedforward_dim: PositiveInt | None = Field(None, description="inner width of the gated feed-forward")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(None, description="during pretraining")


class Optimization(Section):
    """What pretraining and fine-tuning share. Batches are counted in packed rows of `sequence_length` tokens."""

    global_batch_size: PositiveInt = Field(64, description="packed rows per optimizer update")
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(None, description="default: by model size")
    warmup_fraction: Fraction = Field(0.06, description="share of the updates in which the learning rate rises")
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01, description="AdamW; not on norms, biases, embeddings"
    )
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="largest global norm of the gradients")


class Pretrain(Optimization):
    """Masked-token pretraining."""

    epochs: PositiveInt = Field(10, description="passes over the corpus, unless `steps` is given")
    steps: PositiveInt | None = Field(None, description="optimizer updates; overrides `epochs`")
    mask_fraction: Annotated[float, Field(gt=0, le=0.5)] = Field(0.2, description="share of a row that is predicted")


class Finetune(Optimization):
    """Supervised training of one task from the pretrained backbone."""

    initialize: Literal["pretrained", "scratch"] = Field("pretrained", description="scratch ignores the backbone")
    epochs: PositiveInt = Field(4, description="passes over the task's training rows")
    global_batch_size: PositiveInt = Field(16, description="packed rows per optimizer update")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.1, description="in the encoder and before the answer")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.0, description="share spread over all classes")


class Gate(Section):
    """What a candidate must reach before it may be published."""

    metric: Literal["accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1"] = Field(
        "macro_f1", description="compared with the baseline and the champion"
    )
    thresholds: dict[Literal["accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1"], Fraction] = (
        Field(default_factory=dict, description="least value of each metric on the test rows")
    )
    baseline: Literal["critical", "warning", "off"] = Field(
        "critical", description="must the candidate beat the linear model?"
    )
    champion_margin: Fraction = Field(0.0, description="how much worse than the champion is still accepted")


class TaskData(Section):
    """Which rows a task learns from, and which column holds the answer."""

    source: str = Field(description="name of one of data.sources")
    label: str = Field("label", description="column that holds the answer")
    where: dict[str, str] = Field(default_factory=dict, description="keep only rows with these column values")


class Task(Section):
    """One downstream task: single-label classification of a text."""

    description: str = ""
    data: TaskData
    finetune: Finetune = Finetune()
    gate: Gate = Gate()


class Publish(Section):
    """Where proven models go."""

    registered_model: str = Field("{recipe}-{task}", description="name in the registry")
    golden_rows: Annotated[int, Field(ge=1, le=1000)] = Field(
        64, description="test rows on which the reloaded export must answer as the trained model did"
    )


class Runtime(Section):
    """How the recipe runs on this machine; of what is trained it changes rounding and the order of float sums."""

    backend: Literal["auto", "jax", "tensorflow", "torch"] = Field(
        "auto", description="`auto` takes the first of jax, tensorflow, torch that is installed"
    )
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "auto", description="`auto` is mixed_bfloat16 on an accelerator and float32 on a CPU"
    )
    micro_batch_size: PositiveInt | None = Field(
        None, description="packed rows per forward pass; smaller needs less memory; default: the whole global batch"
    )
    checkpoint_seconds: Annotated[float, Field(gt=0)] = Field(30.0, description="between two checkpoints")
    checkpoints_kept: PositiveInt = Field(2, description="the newest ones; a damaged one falls back to the one before")


class Airflow(Section):
    """How Airflow runs the recipe."""

    schedule: str | None = Field(None, description="cron expression or preset such as @daily; null: only by hand")
    retries: Annotated[int, Field(ge=0)] = Field(2, description="tries after the first, each going on where it stopped")
    retry_delay_seconds: Annotated[int, Field(ge=0)] = Field(30, description="between two tries")
    owner: str = Field("tradewind", description="shown in Airflow")
    tags: list[str] = Field(default_factory=list, description="shown in Airflow, and filtered by")


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

    @model_validator(mode="after")
    def _sources_exist(self) -> Recipe:
        known = ", ".join(self.data.sources)
        for name in self.data.corpus:
            if name not in self.data.sources:
                raise ValueError(f"data.corpus names {name!r}, which data.sources does not define; it has: {known}")
        for name in self.data.checks.expectations:
            if name not in self.data.sources:
                raise ValueError(f"data.checks.expectations names {name!r}; data.sources has: {known}")
        for name, task in self.tasks.items():
            if task.data.source not in self.data.sources:
                raise ValueError(f"tasks.{name}.data.source is {task.data.source!r}; data.sources has: {known}")
        return self

    @model_validator(mode="after")
    def _lengths_agree(self) -> Recipe:
        checks = self.data.checks
        if checks.min_characters > checks.max_characters:
            raise ValueError(
                f"data.checks.min_characters is {checks.min_characters}, above max_characters "
                f"({checks.max_characters}); lower one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _batches_divide(self) -> Recipe:
        micro = self.runtime.micro_batch_size
        batches = {"pretrain": self.pretrain.global_batch_size}
        batches |= {f"tasks.{name}.finetune": task.finetune.global_batch_size for name, task in self.tasks.items()}
        for path, batch in batches.items():
            if micro and batch % micro and micro < batch:
                raise ValueError(
                    f"{path}.global_batch_size is {batch}, not a multiple of runtime.micro_batch_size ({micro}); "
                    "make one divide the other"
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
        if len(names) < len(self.tasks):
            raise ValueError(
                f"publish.registered_model is {pattern!r}, one name for {len(self.tasks)} tasks, which would replace "
                "each other's champion; put {task} into it"
            )
        return self


class Settings(BaseSettings):
    """What belongs to the machine and not to the recipe; read from `TRADEWIND_*` environment variables."""

    model_config = SettingsConfigDict(env_prefix="TRADEWIND_")

    workspace: Path = Field(Path("workspace"), description="artifacts, runs, registry and Airflow's files live here")
    recipes: Path = Field(Path("configs"), description="folder of the recipes that become DAGs")
    registry: str | None = Field(None, description="MLflow address; default: a SQLite file in the workspace")
