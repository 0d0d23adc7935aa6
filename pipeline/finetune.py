"""Step `finetune`: the pretrained encoder learns one task from its labelled rows.

bundle/{model.keras, tokenizer.json, bundle.json}, logs/metrics.jsonl
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import keras

from models.backbones import Backbone
from pipeline.backbone import build_encoder, load_encoder
from pipeline.backend import select_precision
from pipeline.bundle import Bundle
from pipeline.calibrate import calibrated
from pipeline.config import Clean, Finetune, Recipe
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.dimensions import dimensions_of
from pipeline.progress import Progress
from pipeline.tasks import KINDS
from pipeline.training.assembly import finish_learning, make_learner, make_trainer, start_keras
from pipeline.training.loop import Evaluation
from pipeline.training.mesh import device_count, laid_out, mesh_on, split_batch
from pipeline.training.optimizer import default_learning_rate
from pipeline.training.preflight import check_optimization
from pipeline.training.processes import process_id


@dataclass(frozen=True)
class FinetuneResult:
    """How fine-tuning ended; losses are of `pipeline.tasks`, per text or, of tags, per word.

    Accuracy is the share that is answered right; of sets of classes, as a whole; of numbers, to half a standard
    deviation.
    """

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
    """Train the model of `task`, from the newest checkpoint in `out` when there is one.

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
    kind = recipe.tasks[task].data.kind
    learned = KINDS[kind](tokens, task)
    train = learned.splits["train"]
    precision = select_precision(runtime.precision)
    start_keras(precision, recipe.seed)
    mesh = mesh_on(runtime.mesh, device_count(), keras.backend.backend())
    shape = split_batch(mesh, config.global_batch_size, runtime.micro_batch_size)
    batches = {split: learned.batches(split, shape, recipe.seed) for split in learned.splits}
    total_steps = math.ceil(config.epochs * len(train) / config.global_batch_size)
    rate = config.learning_rate or default_learning_rate(config.optimizer, _learning_rate(recipe))
    check_optimization(config, rate, total_steps)
    objective = learned.objective(config)
    with laid_out(mesh):
        encoder = _initial_encoder(recipe, config, backbone)
        model = learned.model(encoder, config.dropout)
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
    if process_id() == 0:
        bundle = Bundle(
            task=task,
            kind=kind,
            labels=tuple(learned.labels),
            sequence_length=train.sequence_length,
            tokenizer=load_tokenizer(tokens / "tokenizer.json"),
            clean=Clean.model_validate_json((tokens / "clean.json").read_text()),
            model=model,
        )
        calibrated(bundle, learned, progress).save(out / "bundle")
        trainer.checkpoints.clear()
    return FinetuneResult(
        task=task,
        backend=keras.backend.backend(),
        precision=precision,
        classes=len(learned.labels),
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
