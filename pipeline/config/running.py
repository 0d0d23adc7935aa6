"""Where proven models go, and how the recipe runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from pipeline.config.section import Section
from pipeline.config.target_urls import FORMS, check_target

Size = Annotated[int, Field(ge=-1)]


class Approval(Section):
    """A person is asked after the gate and before publishing, about everything that the gate has not refused."""

    timeout_hours: Annotated[float, Field(gt=0)] = Field(24.0, description="how long Airflow waits for an answer")
    default: Literal["reject", "approve"] = Field(
        "reject",
        description="what holds when nobody answers in time; what the gate hands to a person is rejected in any case",
    )


class Publish(Section):
    """Where proven models go."""

    registered_model: str = Field("{recipe}-{task}", description="name in the registry")
    golden_rows: Annotated[int, Field(ge=1, le=1000)] = Field(
        64, description="test rows on which the reloaded export must answer as the trained model did"
    )
    formats: list[Literal["keras", "savedmodel", "onnx", "onnx_int8"]] = Field(
        ["keras"],
        description="what the model is written as, each proven; `keras` it always is, and the others take some seconds "
        "each. Not of kind generation",
    )
    backends: Literal["trained", "installed"] = Field(
        "trained",
        description="Keras backends that the `.keras` file is proven on: the one it was trained on, or every one that "
        "is installed here, for some seconds each",
    )
    license: str | None = Field(
        None, description="SPDX identifier of the model's licence, such as apache-2.0; stands in the model card"
    )
    adapters: bool = Field(
        False, description="of tasks with finetune.method lora, export the adapters alone as well, in `adapters/`"
    )
    targets: list[Annotated[str, AfterValidator(check_target)]] = Field(
        [], description=f"where each new champion goes besides the registry, by address; it may hold {{task}}: {FORMS}"
    )
    approval: Approval | None = Field(
        None,
        description="{}: publish only what a person approves, in Airflow or by --approve REASON; null: nobody asks",
    )


class Mesh(Section):
    """Devices along each axis; the product is the number of devices, where one -1 stands for what the others leave."""

    data: Size = Field(-1, description="each holds the whole model and takes a part of every batch")
    fsdp: Size = Field(1, description="as `data`, but each holds only a part of the weights and of the optimizer")
    model: Size = Field(1, description="tensor parallelism: each computes some of the heads, inner width and tokens")

    @model_validator(mode="after")
    def _one_is_the_rest(self) -> Mesh:
        sizes = self.model_dump()
        if list(sizes.values()).count(-1) > 1 or 0 in sizes.values():
            raise ValueError(f"an axis is 1 or more, and -1 (whatever the others leave) stands once; got {sizes}")
        return self


class Ray(Section):
    """The Ray cluster of `launcher: ray`, and what each process gets of it."""

    address: str | None = Field(
        None,
        description="host:port, http://host:8265 or ray://host:port of the head; default: RAY_ADDRESS, else a cluster "
        "started here for as long as the training lasts",
    )
    cpus_per_process: Annotated[float, Field(gt=0)] = Field(1.0, description="cores that a node sets aside for each")
    gpus_per_process: Annotated[float, Field(ge=0)] = Field(0.0, description="GPUs that each gets, and no other uses")
    max_failures: Annotated[int, Field(ge=0)] = Field(
        3, description="losses of a process or node after which the job goes on by itself from the last checkpoint"
    )


class Runtime(Section):
    """How the recipe runs on this machine; of what is trained it changes rounding and the order of float sums."""

    backend: Literal["auto", "jax", "tensorflow", "torch"] = Field(
        "auto", description="`auto` measures the installed ones before a long training, else takes the first"
    )
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16", "float8"] = Field(
        "auto",
        description="`auto`, of either, measures a few steps of this model on this machine and says what it took",
    )
    micro_batch_size: PositiveInt | None = Field(
        None,
        description="packed rows per forward pass on each device; smaller needs less memory; default: all of them",
    )
    mesh: Mesh = Field(Mesh(), description="how a training is spread over devices")
    fsdp_gather: Literal["update", "micro_batch"] = Field(
        "update",
        description="with mesh.fsdp: weights are put together once an update, or in each micro-batch: less memory, "
        "more traffic",
    )
    processes: PositiveInt = Field(
        1, description="processes that train; on a machine with accelerators one can use all of them"
    )
    launcher: Literal["local", "ray"] = Field(
        "local", description="where these processes are started: on this machine, or by a job on a Ray cluster"
    )
    ray: Ray = Field(Ray(), description="the cluster of `launcher: ray`")
    start_seconds: Annotated[float, Field(gt=0)] = Field(
        300.0, description="how long processes wait for one that does not come"
    )
    data_engine: Literal["local", "ray"] = Field(
        "local", description="where preprocessing runs: processes on this machine, or a Ray cluster; same bytes out"
    )
    data_workers: PositiveInt | None = Field(
        None, description="processes of the local engine, or tasks at once on Ray; default: one per core"
    )
    checkpoint_seconds: Annotated[float, Field(gt=0)] = Field(30.0, description="between two checkpoints")
    checkpoints_kept: PositiveInt = Field(
        2, description="the newest ones, beside the best; a damaged one falls back to the one before"
    )
    tracking: list[Literal["tensorboard", "mlflow"]] = Field(
        ["tensorboard", "mlflow"],
        description="where the curves of a training go too; logs/metrics.jsonl always has them",
    )
    profile: bool = Field(False, description="write a trace of five updates to logs/profile")
