"""The model, how it is trained, how it is judged, and how the recipe runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from pipeline.config.section import Fraction, Section

GATE_METRICS = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1")


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
    data_engine: Literal["local", "ray"] = Field(
        "local", description="where preprocessing runs: processes on this machine, or a Ray cluster; same bytes out"
    )
    data_workers: PositiveInt | None = Field(
        None, description="processes of the local engine, or tasks at once on Ray; default: one per core"
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
