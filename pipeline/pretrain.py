"""Step `pretrain`: the encoder learns the language of the corpus by predicting hidden tokens.

backbone.weights.h5, backbone.json, tokenizer.json, logs/metrics.jsonl
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import keras

from models.encoder import MaskedLanguageModel
from models.objectives import masked_tokens
from models.size import with_learning_rate
from pipeline.backbone import build_encoder, dimensions_of, save_backbone
from pipeline.backend import select_precision
from pipeline.config import Recipe
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.progress import Progress
from pipeline.training.batches import BatchShape, MaskedBatches
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.loop import Evaluation, Learner, Trainer, Watch
from pipeline.training.optimizer import make_optimizer
from pipeline.training.steppers import make_stepper


@dataclass(frozen=True)
class PretrainResult:
    """How pretraining ended; losses are nats per hidden token."""

    backend: str
    precision: str
    parameters: int
    steps: int
    resumed_at: int
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    tokens_per_second: float
    seconds: float


def pretrain(recipe: Recipe, tokens: Path, out: Path, progress: Progress) -> PretrainResult:
    """Train the encoder on the packed corpus, from the newest checkpoint in `out` when there is one.

    Args:
        recipe: Recipe. Its `seed`, `model`, `pretrain` and `runtime`.
        tokens: Path. The artifact of `preprocess`.
        out: Path. Folder to write into; checkpoints live in it until the step is done.
        progress: Progress. Shows loss, tokens per second and the time left.

    Raises:
        RecipeError: the model's dimensions do not fit together.
        BackendError: the precision is not possible here.
        TrainingError: the loss is not a finite number.
        Interrupted: SIGTERM arrived; the same call continues.
    """
    config, runtime = recipe.pretrain, recipe.runtime
    dimensions = with_learning_rate(dimensions_of(recipe.model), config.learning_rate)
    vocabulary = Vocabulary.of(load_tokenizer(tokens / "tokenizer.json"))
    precision = select_precision(runtime.precision)
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(recipe.seed)
    model = MaskedLanguageModel(build_encoder(dimensions, vocabulary.size, recipe.model.dropout or 0.0))
    model.build_from_config({})
    progress.say(dimensions.explain(vocabulary.size))

    rows = ShardedRows(tokens / "corpus" / "train")
    shape = BatchShape.of(config.global_batch_size, runtime.micro_batch_size)
    batches = MaskedBatches(rows, shape, vocabulary, config.mask_fraction, recipe.seed)
    total_steps = config.steps or math.ceil(config.epochs * len(rows) / config.global_batch_size)
    optimizer = make_optimizer(config, dimensions.learning_rate, total_steps, model)
    stepper = make_stepper(model, optimizer, masked_tokens)
    identity = {
        "step": "pretrain",
        "precision": precision,
        "backend": keras.backend.backend(),
        "seed": recipe.seed,
        "steps": total_steps,
        **asdict(dimensions),
        **asdict(shape),
    }
    checkpoints = Checkpoints(out / "checkpoints", identity, runtime.checkpoints_kept, progress.say)
    held_out = ShardedRows(tokens / "corpus" / "validation")
    judged = MaskedBatches(held_out, shape, vocabulary, config.mask_fraction, recipe.seed)
    every = max(1, total_steps // (config.evaluations + 1)) if config.evaluations else None
    watch = Watch(
        runtime.checkpoint_seconds,
        evaluation=Evaluation(judged.in_order, every) if len(held_out) else None,
        spike_threshold=config.spike_threshold,
    )
    learner = Learner(model, optimizer, stepper)
    trainer = Trainer(learner, checkpoints, out / "logs" / "metrics.jsonl", progress, watch)
    progress.say(f"{total_steps} updates of {config.global_batch_size} x {rows.sequence_length} tokens, {precision}")
    training = trainer.train(batches, total_steps)
    validation = training.validation or {}
    save_backbone(model.encoder, out)
    shutil.copy(tokens / "tokenizer.json", out / "tokenizer.json")
    checkpoints.clear()
    return PretrainResult(
        backend=keras.backend.backend(),
        precision=precision,
        parameters=model.count_params(),
        steps=training.steps,
        resumed_at=training.resumed_at,
        loss=training.loss,
        validation_loss=validation.get("loss"),
        validation_accuracy=validation.get("accuracy"),
        tokens_per_second=training.tokens_per_second,
        seconds=training.seconds,
    )
