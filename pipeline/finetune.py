"""Step `finetune`: the pretrained encoder learns one task from its labelled rows.

bundle/{model.keras, tokenizer.json, bundle.json}, logs/metrics.jsonl, and of method lora adapters/
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras

from models.backbones import Backbone, EncoderDecoder
from models.lora import merge_adapters
from models.preset import PresetEncoder
from pipeline.backbone import build_encoder, build_whole, load_backbone, load_encoder
from pipeline.backend import select_precision
from pipeline.bundle import Bundle
from pipeline.calibrate import calibrated
from pipeline.config import Clean, Finetune, Recipe, TaskData
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.dimensions import dimensions_of
from pipeline.ngrams import adjustment
from pipeline.presets.folder import describe, is_fetched
from pipeline.presets.load import check_preset, load_preset, preset_learning_rate
from pipeline.progress import Progress
from pipeline.tasks import KINDS
from pipeline.training.assembly import finish_learning, make_learner, make_trainer, start_keras
from pipeline.training.loop import Evaluation
from pipeline.training.mesh import device_count, laid_out, mesh_on, split_batch
from pipeline.training.optimizer import default_learning_rate
from pipeline.training.preflight import check_optimization
from pipeline.training.processes import process_id
from pipeline.tuning.adapters import save_adapters
from pipeline.tuning.batches import FEATURES, tuning_batches
from pipeline.tuning.estimate import estimate
from pipeline.tuning.labelled_task import LabelledTask
from pipeline.tuning.methods import apply_method, layer_shares
from pipeline.tuning.seeds import over_seeds


@dataclass(frozen=True)
class FinetuneResult:
    """How fine-tuning ended; losses are of `pipeline.tasks`, per text or, of tags, per word.

    Accuracy is the share that is answered right; of sets of classes, as a whole; of numbers, to half a standard
    deviation; of texts to be written, token by token, each given the right ones before it.

    Validation figures are those of the weights that are kept, which had made `kept_step` updates; `validation_metric`
    is the one named `metric`. `seeds` has it for every seed, and mean and spread are over them.
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
    metric: str
    validation_metric: float
    kept_step: int
    method: str
    parameters: int
    trainable_parameters: int
    optimizer_slots: int
    memory_bytes: int
    tokens_per_second: float
    seconds: float
    seeds: dict[str, float] = field(default_factory=dict)
    seeds_mean: float | None = None
    seeds_spread: float | None = None


def finetune(
    recipe: Recipe,
    task: str,
    tokens: Path,
    backbone: Path,
    out: Path,
    progress: Progress,
    initialize: str | None = None,
) -> FinetuneResult:
    """Train the model of `task`, from the newest checkpoint in `out` when there is one; of several seeds, the best.

    Args:
        recipe: Recipe. Its `seed`, `model`, `tasks.<task>.finetune`, `.data.kind`, `.data.long_texts` and `runtime`.
        task: str. Name of the task.
        tokens: Path. The artifact of `preprocess`.
        backbone: Path. The artifact of `pretrain`; from scratch, any folder with its tokenizer.
        out: Path. Folder to write into; checkpoints live in it until the step is done.
        progress: Progress. Shows loss, tokens per second and the time left.
        initialize: str or None. In place of what `finetune.initialize` says.

    Raises:
        BackendError: the precision is not possible here.
        TrainingError: the loss is not a finite number.
        Interrupted: SIGTERM arrived; the same call continues.
    """

    def train(seed: int, folder: Path, watching: Progress) -> FinetuneResult:
        return _finetune_once(recipe, task, tokens, backbone, folder, watching, seed, initialize)

    number = recipe.tasks[task].finetune.seeds
    if number == 1:
        return train(recipe.seed, out, progress)
    found = over_seeds(range(recipe.seed, recipe.seed + number), out, progress, train, FinetuneResult)
    return replace(
        found.results[found.best],
        seeds={str(seed): metric for seed, metric in found.metrics.items()},
        seeds_mean=found.mean,
        seeds_spread=found.spread,
    )


def _finetune_once(
    recipe: Recipe,
    task: str,
    tokens: Path,
    backbone: Path,
    out: Path,
    progress: Progress,
    seed: int,
    initialize: str | None,
) -> FinetuneResult:
    config, runtime = recipe.tasks[task].finetune, recipe.runtime
    config = config.model_copy(update={"initialize": initialize or config.initialize})
    kind = recipe.tasks[task].data.kind
    learned = KINDS[kind](tokens, task, recipe.model.architecture)
    train = learned.splits["train"]
    precision = select_precision(runtime.precision)
    start_keras(precision, seed)
    mesh = mesh_on(runtime.mesh, device_count(), keras.backend.backend())
    if is_fetched(backbone):
        check_preset(learned.segments, precision, mesh.devices)
    shape = split_batch(mesh, config.global_batch_size, runtime.micro_batch_size)
    batches = {split: learned.batches(split, shape, seed) for split in learned.splits}
    total_steps = math.ceil(config.epochs * len(train) / config.global_batch_size)
    rate = config.learning_rate or default_learning_rate(config.optimizer, _learning_rate(recipe, backbone))
    check_optimization(config, rate, total_steps)
    objective = learned.objective(config)
    with laid_out(mesh):
        encoder = _initial_backbone(recipe, config, backbone, learned)
        model = learned.model(encoder, config)
        model.build_from_config({})
        trained = apply_method(model, encoder, config, precision, mesh)
        shares = layer_shares(trained, encoder, config, total_steps)
        learner = make_learner(
            trained, config, rate, total_steps, objective, precision, mesh, runtime.fsdp_gather, shares
        )
    numbers = estimate(
        model,
        trained,
        encoder,
        learner.optimizer,
        shape.micro_batch_size // mesh.batch_shards,
        train.sequence_length,
    )
    progress.say(numbers.sentence(config.method))
    source, judged = tuning_batches(model, batches, config, out, progress)
    trainer = make_trainer(
        learner,
        {
            "step": "finetune",
            "task": task,
            "precision": precision,
            "seed": seed,
            "parameters": model.count_params(),
        },
        config,
        runtime,
        shape,
        total_steps,
        out,
        progress,
        Evaluation(
            judged.in_order,
            math.ceil(total_steps / config.evaluations),
            learned.metric,
            config.early_stopping_patience,
            config.keep == "best",
        ),
    )
    training = trainer.train(source, total_steps)
    validation = training.validation
    assert validation is not None
    finish_learning(learner)
    if config.logit_adjustment:
        model.shift(-config.logit_adjustment * adjustment(learned.answers("train"), len(learned.labels)))
    if process_id() == 0:
        if config.method == "lora":
            save_adapters(model, config.lora, out / "adapters")
            merge_adapters(model)
        bundle = _bundle(task, kind, learned, model, recipe.tasks[task].data)
        calibrated(bundle, learned, progress).save(out / "bundle")
        trainer.checkpoints.clear()
        shutil.rmtree(out / FEATURES, ignore_errors=True)
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
        metric=learned.metric.name,
        validation_metric=validation[learned.metric.name],
        kept_step=training.kept_step,
        method=config.method,
        parameters=numbers.parameters,
        trainable_parameters=numbers.trainable_parameters,
        optimizer_slots=numbers.optimizer_slots,
        memory_bytes=numbers.memory.total,
        tokens_per_second=training.tokens_per_second,
        seconds=training.seconds,
    )


def _bundle(task: str, kind: str, learned: LabelledTask, model: keras.Model, data: TaskData) -> Bundle:
    return Bundle(
        task=task,
        kind=kind,
        labels=tuple(learned.labels),
        sequence_length=learned.splits["train"].sequence_length,
        tokenizer=load_tokenizer(learned.tokens / "tokenizer.json"),
        clean=Clean.model_validate_json((learned.tokens / "clean.json").read_text()),
        model=model,
        long_texts=data.long_texts,
        prompt=data.prompt,
    )


def _initial_backbone(
    recipe: Recipe, config: Finetune, folder: Path, learned: LabelledTask
) -> Backbone | PresetEncoder | EncoderDecoder:
    """Return what reads texts, or the whole backbone of a task that writes them."""
    if config.initialize == "pretrained":
        return load_backbone(folder, config.dropout) if learned.writes else load_encoder(folder, config.dropout)
    if is_fetched(folder):
        return load_preset(folder, config.dropout, fresh=True)
    vocabulary_size = load_tokenizer(folder / "tokenizer.json").get_vocab_size()
    build = build_whole if learned.writes else build_encoder
    return build(dimensions_of(recipe.model), vocabulary_size, config.dropout)


def _learning_rate(recipe: Recipe, backbone: Path) -> float:
    """Return the default peak: a third of the pretraining rate, so that what was learnt is bent and not erased."""
    if is_fetched(backbone):
        return preset_learning_rate(describe(backbone)["hidden_dim"])
    return dimensions_of(recipe.model).learning_rate / 3
