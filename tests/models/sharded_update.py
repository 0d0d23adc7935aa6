"""Compiles an update of the real models over a mesh of devices that XLA only pretends, and tells its memory.

    python sharded_update.py < QUESTIONS > ANSWERS

QUESTIONS is a JSON list of `Question`s, ANSWERS the bytes per device of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

DEVICES = 4
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Question:
    """One update; `rows` are those of a micro-batch on one device."""

    dimensions: dict[str, Any]
    mesh: tuple[int, int, int]  # data, fsdp, model
    gather: str = "update"
    optimizer: str = "adamw"
    vocabulary_size: int = 2048
    length: int = 64
    rows: int = 8
    predictions: int = 64
    micro_batches: int = 2
    options: dict[str, Any] = field(default_factory=dict)


def memory_of(questions: list[Question]) -> list[int]:
    """Return the bytes that each update needs on one device, from a process that has four."""
    result = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps([asdict(question) for question in questions]),
        env=os.environ
        | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
            "JAX_PLATFORMS": "cpu",
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    answers: list[int] = json.loads(result.stdout)
    return answers


def measure(question: Question) -> int:
    """Return the bytes of arguments, results and temporaries of the compiled update on one device."""
    from functools import partial

    from models.objectives import token_prediction
    from models.parallel import MeshShape
    from models.size import derive_dimensions
    from pipeline.backbone import build_language_model
    from pipeline.config import Pretrain
    from pipeline.training.mesh import laid_out
    from pipeline.training.optimizer import make_optimizer
    from pipeline.training.steppers import make_stepper

    dimensions, mesh = derive_dimensions(**question.dimensions), MeshShape(*question.mesh)
    config = Pretrain(optimizer=question.optimizer, warmup_fraction=0.0, **question.options)
    with laid_out(mesh):
        model = build_language_model(dimensions, question.vocabulary_size, 0.0)
        optimizer = make_optimizer(config, 1e-3, 10, model)
        stepper = make_stepper(model, optimizer, partial(token_prediction), mesh, question.gather)
    used = stepper.compiled(batch_of(question, dimensions.architecture, mesh.batch_shards)).memory_analysis()
    return int(
        used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
    )


def batch_of(question: Question, architecture: str, shards: int) -> dict[str, Any]:
    """Return a batch of the shapes that the question asks for."""
    import numpy as np

    widths = {"token_ids": question.length, "segment_ids": question.length}
    if architecture == "encoder":
        widths["positions"] = question.predictions
    if architecture == "encoder_decoder":
        widths["decoder_token_ids"] = widths["decoder_segment_ids"] = question.predictions
    asked = question.length if architecture == "decoder" else question.predictions
    widths |= {"targets": asked, "weights": asked}
    rows = question.rows * shards
    return {
        name: np.ones((question.micro_batches, rows, width), np.float32 if name == "weights" else np.int32)
        for name, width in widths.items()
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps([measure(Question(**question)) for question in json.load(sys.stdin)]))
