"""Step `pretrain`: the backbone learns the language of the corpus by predicting what is hidden from it.

backbone.weights.h5, backbone.json, tokenizer.json, logs/, and with warmup_stable_decay stable/; of a preset, which is
not trained, preset/ in place of weights and logs
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from models.kernels import attention_kernel
from models.language_models import LanguageModel
from models.objectives import token_prediction, tokens_and_groups
from pipeline.backbone import STABLE, TOKENIZER, build_language_model, continue_from, hand_on, save_backbone
from pipeline.backend import has_accelerator, select_precision
from pipeline.config import Recipe
from pipeline.data.tokens.tokenizer import load_tokenizer, require_same_tokenizer
from pipeline.errors import RecipeError
from pipeline.language_scores import language_scores
from pipeline.presets.folder import trains_further
from pipeline.pretrain_plan import Plan, make_plan
from pipeline.progress import Progress
from pipeline.training.assembly import finish_learning, make_learner, make_trainer, start_keras
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.hardware import peak_flops
from pipeline.training.loop import Cost, Evaluation, Learner, TrainingResult
from pipeline.training.mesh import laid_out
from pipeline.training.position import Position
from pipeline.training.precision import dtype_policy
from pipeline.training.processes import num_processes, process_id
from pipeline.training.steppers import Objective


@dataclass(frozen=True)
class PretrainResult:
    """How pretraining ended; losses are nats per predicted token. Nothing was measured of a backbone taken as it is.

    `language` has the perplexity and the bits per byte of the whole validation split, as `pipeline.language_scores`
    names them.
    """

    backend: str
    precision: str
    attention_kernel: str | None
    parameters: int
    flops_per_token: float | None
    steps: int
    resumed_at: int
    loss: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    tokens_per_second: float | None
    model_flops_utilization: float | None
    seconds: float
    language: dict[str, float] = field(default_factory=dict)


def pretrain(recipe: Recipe, tokens: Path, out: Path, progress: Progress, start: Path | None = None) -> PretrainResult:
    """Train the backbone on the packed corpus, from the newest checkpoint in `out` when there is one.

    A backbone that is taken as it is, and a preset always is, is copied.

    Args:
        recipe: Recipe. Its `seed`, `model`, `pretrain` and `runtime`.
        tokens: Path. The artifact of `preprocess`.
        out: Path. Folder to write into; checkpoints live in it until the step is done.
        progress: Progress. Shows loss, tokens per second and the time left.
        start: Path or None. The backbone that `pretrain.start_from` names.

    Raises:
        RecipeError: the model's dimensions do not fit together, or what it starts from does not fit.
        BackendError: the precision is not possible here.
        TrainingError: there is too little memory, or the loss is not a finite number, or keeps spiking.
        Interrupted: SIGTERM arrived; the same call continues.
    """
    config = recipe.pretrain
    if start:
        require_same_tokenizer(load_tokenizer(tokens / TOKENIZER), start)
    if start and not trains_further(config, start):
        return _taken(recipe, start, out, progress)
    plan = make_plan(recipe, tokens, progress)
    start_keras(plan.precision, recipe.seed)
    if process_id() == 0:
        out.mkdir(parents=True, exist_ok=True)
        shutil.copy(tokens / TOKENIZER, out / TOKENIZER)  # at once, because checkpoints are exported with it
    objective: Objective = partial(token_prediction, z_loss=config.z_loss)
    if plan.groups.groups:
        objective = partial(tokens_and_groups, group_weight=config.group_weight, z_loss=config.z_loss)
    with laid_out(plan.mesh):
        model = build_language_model(
            plan.dimensions, plan.vocabulary_size, recipe.model.dropout or 0.0, plan.groups.groups
        )
        if start and not config.resume_stable:
            continue_from(start, model, plan.dimensions)
        learner = make_learner(
            model,
            config,
            plan.learning_rate,
            plan.steps,
            objective,
            plan.precision,
            plan.mesh,
            recipe.runtime.fsdp_gather,
        )
    peak = peak_flops(plan.precision)
    # A process on a CPU has measured its own cores; the fake devices of one share them.
    devices = plan.mesh.devices if has_accelerator() else num_processes()
    peak = replace(peak, flops_per_second=devices * peak.flops_per_second)
    kernel = _attention_kernel(plan)
    progress.say(
        f"{keras.backend.backend()} {plan.precision}, attention kernel {kernel}; model FLOPs utilization is measured "
        f"against {peak.flops_per_second / 1e9:,.0f} GFLOP/s ({peak.source})"
    )
    trainer = make_trainer(
        learner,
        _identity(plan, recipe),
        config,
        recipe.runtime,
        plan.shape,
        plan.steps,
        out,
        progress,
        _evaluation(plan, config.evaluations),
        config.spike_threshold,
        Cost(plan.flops_per_token, peak.flops_per_second),
    )
    training = trainer.train(plan.training, plan.steps, _stable_start(recipe, learner, start))
    finish_learning(learner)
    if process_id() == 0:
        save_backbone(model.backbone, out)
        if stable := trainer.checkpoints.stable():
            shutil.rmtree(out / STABLE, ignore_errors=True)
            shutil.copytree(stable, out / STABLE)
        trainer.checkpoints.clear()
    result = _result(plan, model, kernel, training, peak.flops_per_second)
    if result.language:
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in result.language.items())
        progress.say(f"validation texts: {told}")
    return result


def _taken(recipe: Recipe, start: Path, out: Path, progress: Progress) -> PretrainResult:
    """Return the result of training nothing."""
    began = time.monotonic()
    precision = select_precision(recipe.runtime.precision)
    start_keras(precision, recipe.seed)
    parameters = 0
    if process_id() == 0:
        out.mkdir(parents=True, exist_ok=True)
        parameters = hand_on(start, out)
        progress.say(f"nothing is pretrained: the backbone of {start} ({parameters:,} parameters) is taken as it is")
    none: dict[str, Any] = dict.fromkeys(
        ("attention_kernel", "flops_per_token", "loss", "validation_loss", "validation_accuracy", "tokens_per_second")
    )
    return PretrainResult(
        backend=keras.backend.backend(),
        precision=precision,
        parameters=parameters,
        steps=0,
        resumed_at=0,
        model_flops_utilization=None,
        seconds=round(time.monotonic() - began, 3),
        **none,
    )


def _identity(plan: Plan, recipe: Recipe) -> dict[str, Any]:
    """Return what a checkpoint must agree on, and what tells the model that it is of."""
    return {
        "step": "pretrain",
        "precision": plan.precision,
        "seed": recipe.seed,
        "vocabulary_size": plan.vocabulary_size,
        "dropout": recipe.model.dropout or 0.0,
        **({"groups": plan.groups.groups} if plan.groups.groups else {}),
        **asdict(plan.dimensions),
    }


def _attention_kernel(plan: Plan) -> str:
    compute_dtype = keras.dtype_policies.get(dtype_policy(plan.precision)).compute_dtype
    length = plan.training.rows.sequence_length
    return attention_kernel(plan.dimensions.head_dim, length, compute_dtype, plan.dimensions.num_heads)


def _evaluation(plan: Plan, times: int) -> Evaluation | None:
    """Return when the validation loss is taken: at the end, and evenly on the way."""
    if plan.validation is None:
        return None
    return Evaluation(plan.validation.in_order, every=math.ceil(plan.steps / times) if times else None)


def _stable_start(recipe: Recipe, learner: Learner, start: Path | None) -> Position | None:
    """Return where the stable phase of an earlier training ended, with its state in the learner; None without one.

    Raises:
        RecipeError: the earlier training had no such phase.
    """
    if not recipe.pretrain.resume_stable or start is None:
        return None
    folder = start / STABLE
    if not folder.is_dir():
        raise RecipeError(
            f"pretrain.resume_stable is set, but {start} has no {STABLE}/; give the artifact of a "
            "pretraining with schedule: warmup_stable_decay, or remove resume_stable to start from its last weights"
        )
    position = Checkpoints.load(folder, learner.model, learner.optimizer)
    learner.stepper.read_in()
    return position


def _result(plan: Plan, model: LanguageModel, kernel: str, training: TrainingResult, peak: float) -> PretrainResult:
    validation = training.validation or {}
    return PretrainResult(
        backend=keras.backend.backend(),
        precision=plan.precision,
        attention_kernel=kernel,
        parameters=int(sum(np.prod(variable.shape) for variable in model.trainable_variables)),
        flops_per_token=plan.flops_per_token,
        steps=training.steps,
        resumed_at=training.resumed_at,
        loss=training.loss,
        validation_loss=validation.get("loss"),
        validation_accuracy=validation.get("accuracy"),
        tokens_per_second=training.tokens_per_second,
        model_flops_utilization=Cost(plan.flops_per_token, peak).utilization(training.tokens_per_second),
        seconds=training.seconds,
        language=language_scores(plan.dimensions.architecture, plan.validation, validation["loss"])
        if plan.validation and validation
        else {},
    )
