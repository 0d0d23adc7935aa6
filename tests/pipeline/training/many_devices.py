"""Trains a small model on meshes of eight fake devices, and tells what came of it as JSON on the standard output.

A process of its own, because the number of devices must be known before JAX starts.
"""

import json
import os
import re
import sys
from functools import partial
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
from jax.sharding import PartitionSpec

from models.freezing import train_top
from models.lora import add_adapters
from models.objectives import token_prediction, tokens_and_groups
from models.parallel import MeshShape
from models.size import Dimensions
from pipeline.backbone import build_language_model
from pipeline.config import Pretrain
from pipeline.targets import embedding_rows
from pipeline.training.batches import BatchShape
from pipeline.training.batches.objective import synthetic_batch
from pipeline.training.jax_mesh import ROWS, place
from pipeline.training.jax_stepper import reseeded
from pipeline.training.mesh import laid_out
from pipeline.training.optimizer import make_optimizer
from pipeline.training.precision import dtype_policy
from pipeline.training.steppers import make_stepper

VOCABULARY, LENGTH, GLOBAL_BATCH = 512, 32, 16
COLLECTIVE = re.compile(r"= (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
ALONE = re.compile(r"replica_groups=(?:\{(?:\{\d+\},?)+\}|\[\d+,1\])")  # groups of one device: nothing travels
ARRAY = re.compile(r"(f32|bf16|u32|s32|pred)\[([\d,]*)\]")


def train(
    mesh: MeshShape,
    gather: str = "update",
    micro_batches: int = 2,
    precision: str = "float32",
    architecture: str = "encoder",
    dropout: float = 0.0,
    updates: int = 5,
    method: str = "full",
    groups: int = 0,
    **options: Any,
) -> dict[str, Any]:
    keras.config.set_dtype_policy(dtype_policy(precision))
    keras.utils.set_random_seed(1)
    dimensions = Dimensions(2, 64, 4, 2, 96, 3e-3, architecture=architecture)
    embedded = embedding_rows(architecture, Pretrain(), VOCABULARY, LENGTH)
    with laid_out(mesh):
        model = build_language_model(dimensions, embedded, dropout, groups)
        if method == "top block":
            train_top(model.backbone, 1)
        elif method == "adapters":
            add_adapters(model.backbone, 4, 8.0, "all")
        optimizer = make_optimizer(Pretrain(**{"warmup_fraction": 0.0} | options), 3e-3, 20, model)
        objective = partial(tokens_and_groups, group_weight=0.7) if groups else partial(token_prediction)
        stepper = make_stepper(model, optimizer, objective, mesh, gather)
    shape = BatchShape(GLOBAL_BATCH, GLOBAL_BATCH // micro_batches)
    batch = synthetic_batch(architecture, Pretrain(), shape, VOCABULARY, LENGTH)
    batch["weights"] *= np.random.default_rng(0).random(batch["weights"].shape) < 0.7  # unequal on every device
    alone = dict(batch)
    if groups:
        batch |= documents(batch, groups)
    told = [stepper.update(batch) for _ in range(updates)]
    figures = [[float(value) for value in update] for update in told]
    validation = [float(value) for value in stepper.evaluate(alone)[:3]]
    compiled = stepper.compiled(batch)
    stepper.write_back()
    named = {v.path.partition("/")[2]: v.value for v in model.trainable_variables}
    return {
        "figures": figures,
        "parameters": model.count_params(),
        "per_device": masks_seen(stepper, batch) if dropout else [],
        "validation": validation,
        "bytes": state_bytes(stepper.state),
        "peak": compiled.memory_analysis().temp_size_in_bytes,
        "collectives": collectives(compiled.as_text()),
        "specs": {path: str(value.sharding.spec) for path, value in named.items()},
        "weights": {path: float(np.abs(np.asarray(value)).sum()) for path, value in named.items()},
    }


def documents(batch: dict[str, np.ndarray], groups: int) -> dict[str, np.ndarray]:
    """Return rows of four documents, and of each its group; what these weigh is unequal on every device."""
    random, size = np.random.default_rng(1), (*batch["token_ids"].shape[:2], 4)
    segments = np.broadcast_to(np.arange(LENGTH, dtype=np.int32) // (LENGTH // 4) + 1, batch["token_ids"].shape)
    weights = random.random(size) * (random.random(size) < 0.7)
    return {
        "segment_ids": segments,
        "groups": random.integers(0, groups, size).astype(np.int32),
        "group_weights": weights.astype(np.float32),
    }


def masks_seen(stepper: Any, batch: dict[str, np.ndarray]) -> list[float]:
    """Return the loss of each device when all have the same rows."""
    shards = stepper.shape.batch_shards
    same = {name: np.concatenate([array[:1, :2]] * shards, axis=1) for name, array in batch.items()}
    trainable, fixed, _ = stepper.state

    def own(trainable: Any, fixed: Any, rows: Any) -> Any:
        seeds = reseeded(fixed, stepper.exchange.shard_number())
        rows = {name: array[0] for name, array in rows.items()}
        return stepper._run(trainable, seeds, rows, training=True)[0][0][None]

    losses = stepper.exchange.on_parts(
        own, (stepper.exchange.manual_specs, PartitionSpec(), ROWS), PartitionSpec(("data", "fsdp"))
    )
    return np.asarray(jax.jit(losses)(trainable, fixed, place(stepper.shape, same))).tolist()


def state_bytes(state: Any) -> int:
    """Return the bytes on the first device."""
    first = jax.devices()[0]
    shards = (shard for value in jax.tree.leaves(state) for shard in value.addressable_shards)
    return sum(shard.data.nbytes for shard in shards if shard.device == first)


def collectives(program: str) -> list[list[Any]]:
    """Return each exchange of the program: its kind, its largest array's bytes, and whether it lies in a loop."""
    found: list[list[Any]] = []
    for line in program.splitlines():
        if (match := COLLECTIVE.search(line)) and not ALONE.search(line):
            arrays = [4 * int(np.prod([int(n) for n in dims.split(",") if n])) for _, dims in ARRAY.findall(match[1])]
            found.append([match[2], sum(arrays), "while/body" in line])
    return found


if __name__ == "__main__":
    json.dump([train(MeshShape(**case.pop("mesh")), **case) for case in json.loads(sys.argv[1])], sys.stdout)
