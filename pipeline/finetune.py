"""Step `finetune`: the pretrained encoder learns one task from its labelled rows.

bundle/{model.keras, tokenizer.json, bundle.json}, logs/metrics.jsonl
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq

from models.backbones import Backbone
from models.classifier import SegmentClassifier
from models.objectives import segment_labels
from pipeline.backbone import build_encoder, load_encoder
from pipeline.backend import select_precision
from pipeline.bundle import Bundle
from pipeline.config import Clean, Finetune, Recipe
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.dimensions import dimensions_of
from pipeline.ngrams import adjustment, make_bag
from pipeline.progress import Progress
from pipeline.training.assembly import finish_learning, make_learner, make_trainer, start_keras
from pipeline.training.batches import LabelledBatches
from pipeline.training.loop import Evaluation
from pipeline.training.mesh import device_count, laid_out, mesh_on, split_batch
from pipeline.training.optimizer import default_learning_rate
from pipeline.training.preflight import check_optimization
from pipeline.training.processes import process_id


@dataclass(frozen=True)
class FinetuneResult:
    """How fine-tuning ended; losses are nats per row."""

    task: str
    backend: str
    precision: str
    classes: int
    steps: int
    resumed_at: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    tokens_per_second: float
    seconds: float


def finetune(recipe: Recipe, task: str, tokens: Path, backbone: Path, out: Path, progress: Progress) -> FinetuneResult:
    """Train a classifier for `task`, from the newest checkpoint in `out` when there is one.

    Args:
        recipe: Recipe. Its `seed`, `model`, `tasks.<task>.finetune` and `runtime`.
        task: str. Name of the task.
        tokens: Path. The artifact of `preprocess`.
        backbone: Path. The artifact of `pretrain`.
        out: Path. Folder to write into; checkpoints live in it until the step is done.
        progress: Progress. Shows loss, tokens per second and the time left.

    Raises:
        BackendError: the precision is not possible here.
        TrainingError: the loss is not a finite number.
        Interrupted: SIGTERM arrived; the same call continues.
    """
    config, runtime = recipe.tasks[task].finetune, recipe.runtime
    folder = tokens / "tasks" / task
    labels = json.loads((folder / "labels.json").read_text())
    precision = select_precision(runtime.precision)
    start_keras(precision, recipe.seed)
    mesh = mesh_on(runtime.mesh, device_count(), keras.backend.backend())
    shape = split_batch(mesh, config.global_batch_size, runtime.micro_batch_size)
    splits = {split: ShardedRows(folder / split) for split in ("train", "validation")}
    segments = max(rows.segments_per_row for rows in splits.values())
    batches = {
        split: LabelledBatches(rows, _classes(folder / f"{split}.parquet", labels), segments, shape, recipe.seed)
        for split, rows in splits.items()
    }
    total_steps = math.ceil(config.epochs * len(splits["train"]) / config.global_batch_size)
    rate = config.learning_rate or default_learning_rate(config.optimizer, _learning_rate(recipe))
    check_optimization(config, rate, total_steps)
    objective = partial(segment_labels, label_smoothing=config.label_smoothing, z_loss=config.z_loss)
    with laid_out(mesh):
        encoder = _initial_encoder(recipe, config, backbone)
        bag = make_bag(config.ngrams, load_tokenizer(tokens / "tokenizer.json"), splits["train"])
        model = SegmentClassifier(encoder, len(labels), segments, config.dropout, bag, config.ngram_share)
        model.build_from_config({})
        learner = make_learner(model, config, rate, total_steps, objective, precision, mesh, runtime.fsdp_gather)
    trainer = make_trainer(
        learner,
        {
            "step": "finetune",
            "task": task,
            "precision": precision,
            "seed": recipe.seed,
            "parameters": model.count_params(),
        },
        config,
        runtime,
        shape,
        total_steps,
        out,
        progress,
        Evaluation(batches["validation"].in_order),
    )
    training = trainer.train(batches["train"], total_steps)
    validation = training.validation
    assert validation is not None
    finish_learning(learner)
    if config.logit_adjustment:
        model.shift(-config.logit_adjustment * adjustment(batches["train"].labels, len(labels)))
    if process_id() == 0:
        Bundle(
            task=task,
            labels=tuple(labels),
            sequence_length=splits["train"].sequence_length,
            tokenizer=load_tokenizer(tokens / "tokenizer.json"),
            clean=Clean.model_validate_json((tokens / "clean.json").read_text()),
            model=model,
        ).save(out / "bundle")
        trainer.checkpoints.clear()
    return FinetuneResult(
        task=task,
        backend=keras.backend.backend(),
        precision=precision,
        classes=len(labels),
        steps=training.steps,
        resumed_at=training.resumed_at,
        loss=training.loss,
        accuracy=training.accuracy,
        validation_loss=validation["loss"],
        validation_accuracy=validation["accuracy"],
        tokens_per_second=training.tokens_per_second,
        seconds=training.seconds,
    )


def _initial_encoder(recipe: Recipe, config: Finetune, backbone: Path) -> Backbone:
    if config.initialize == "pretrained":
        return load_encoder(backbone, config.dropout)
    vocabulary_size = load_tokenizer(backbone / "tokenizer.json").get_vocab_size()
    return build_encoder(dimensions_of(recipe.model), vocabulary_size, config.dropout)


def _learning_rate(recipe: Recipe) -> float:
    """Return the default peak: a third of the pretraining rate, so that what was learnt is bent and not erased."""
    return dimensions_of(recipe.model).learning_rate / 3


def _classes(path: Path, labels: list[str]) -> np.ndarray:
    """Return the class number of every row, (rows,) int32."""
    number = {label: index for index, label in enumerate(labels)}
    column = pq.read_table(path, columns=["label"])["label"].to_pylist()
    return np.array([number[label] for label in column], dtype=np.int32)
