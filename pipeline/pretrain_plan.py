"""What pretraining is going to compute: derived, checked and told before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras

from models.cost import GroupHead, flops_per_token
from models.explain import explain
from models.horizon import Horizon
from models.parallel import MeshShape, Training
from models.size import Dimensions
from pipeline.backbone import TOKENIZER
from pipeline.backend import has_accelerator, select_precision
from pipeline.config import Pretrain, Recipe
from pipeline.data.tokens.groups import read_groups
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.dimensions import dimensions_of, horizon_of
from pipeline.mesh import check_mesh
from pipeline.progress import Progress
from pipeline.targets import embedding_rows
from pipeline.training.batches import BatchShape, CorpusBatches, GroupedBatches
from pipeline.training.batches.objective import corpus_batches, grouped_batches
from pipeline.training.hardware import HALF, available_memory
from pipeline.training.mesh import device_count, mesh_on, split_batch
from pipeline.training.optimizer import RATES, default_learning_rate
from pipeline.training.preflight import Load, check_memory, check_optimization, check_rows


@dataclass(frozen=True)
class Plan:
    """What is going to be computed, known before anything is compiled."""

    dimensions: Dimensions
    vocabulary_size: int
    precision: str
    learning_rate: float
    steps: int
    mesh: MeshShape
    shape: BatchShape
    training: CorpusBatches
    validation: CorpusBatches | None
    predictions_per_token: float
    groups: GroupHead

    @property
    def flops_per_token(self) -> float:
        """Floating-point operations of training per token that is read."""
        length = self.training.rows.sequence_length
        return flops_per_token(self.dimensions, self.vocabulary_size, length, self.predictions_per_token, self.groups)


def make_plan(recipe: Recipe, tokens: Path, progress: Progress) -> Plan:
    """Return what pretraining will compute, once it is known to be possible, and say it.

    Raises:
        RecipeError: the dimensions do not fit together, or the recipe asks for nothing.
        TrainingError: there is no corpus, it was made with another tokenizer, or there is too little memory.
    """
    config, runtime = recipe.pretrain, recipe.runtime
    dimensions = dimensions_of(recipe.model)
    vocabulary = Vocabulary.of(load_tokenizer(tokens / TOKENIZER))
    rows, held_out = ShardedRows(tokens / "corpus" / "train"), ShardedRows(tokens / "corpus" / "validation")
    check_rows(rows, "the corpus", tokens / TOKENIZER, vocabulary.size, recipe.model.max_sequence_length)
    embedded = embedding_rows(dimensions.architecture, config, vocabulary.size, rows.sequence_length)
    horizon = horizon_of(recipe, dimensions, embedded, rows)
    mesh = mesh_on(runtime.mesh, device_count(), keras.backend.backend())
    check_mesh(mesh, dimensions, horizon.global_batch_size, runtime.micro_batch_size)
    shape = split_batch(mesh, horizon.global_batch_size, runtime.micro_batch_size)
    rate = config.learning_rate or default_learning_rate(config.optimizer, dimensions.learning_rate)
    check_optimization(config, rate, horizon.steps)
    training = corpus_batches(dimensions.architecture, config, rows, shape, vocabulary, recipe.seed)
    if config.group_weight:
        training = grouped_batches(
            config, rows, read_groups(tokens / "corpus" / "train"), shape, vocabulary, recipe.seed
        )
    sample = training.batch(0)
    plan = Plan(
        dimensions=dimensions,
        vocabulary_size=embedded,
        precision=select_precision(runtime.precision),
        learning_rate=rate,
        steps=horizon.steps,
        mesh=mesh,
        shape=shape,
        training=training,
        validation=corpus_batches(dimensions.architecture, config, held_out, shape, vocabulary, recipe.seed)
        if len(held_out)
        else None,
        predictions_per_token=sample["targets"].size / sample["token_ids"].size,
        groups=GroupHead(training.num_groups, sample["groups"].size / sample["token_ids"].size)
        if isinstance(training, GroupedBatches)
        else GroupHead(),
    )
    memory = check_memory(_load(plan, recipe), available_memory())
    size = explain(dimensions, embedded, rows.sequence_length, plan.predictions_per_token, memory, plan.groups)
    for line in (*size, *horizon.reasons, *_training(config, plan, horizon)):
        progress.say(line)
    return plan


def _training(config: Pretrain, plan: Plan, horizon: Horizon) -> list[str]:
    derived = f"learning_rate {plan.learning_rate:g} = {RATES[config.optimizer]:g} x 0.001 x sqrt(512 / hidden_dim)"
    rows = len(plan.training.rows)
    updates = f"{horizon.steps:,} updates x {horizon.global_batch_size} rows x {horizon.sequence_length} tokens"
    passes = f"{horizon.steps * horizon.global_batch_size / rows:.3g} passes over {rows:,} rows"
    grouped = f"of each text its group is told too, one of {plan.groups.groups:,}, which counts {config.group_weight:g}"
    return [
        *([] if config.learning_rate else [derived]),
        *([grouped] if plan.groups.groups else []),
        f"{updates} = {horizon.tokens:,} tokens, {passes}; {config.optimizer}, {config.schedule} from "
        f"{plan.learning_rate:g}",
    ]


def _load(plan: Plan, recipe: Recipe) -> Load:
    accelerated = has_accelerator()
    training = Training(
        plan.dimensions,
        plan.vocabulary_size,
        plan.training.rows.sequence_length,
        plan.predictions_per_token,
        recipe.pretrain.optimizer,
        recipe.pretrain.ema_decay is not None,
        activation_bytes=2 if accelerated and plan.precision in HALF else 4,
        gather=recipe.runtime.fsdp_gather,
        groups=plan.groups,
    )
    return Load(training, plan.shape.micro_batch_size // plan.mesh.batch_shards, plan.mesh, accelerated)
