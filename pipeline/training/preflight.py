"""What is checked before anything is compiled: a fault should cost seconds, and be told in the recipe's words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.parallel import DeviceMemory, MeshShape, Training, memory_per_device
from pipeline.config import Optimization
from pipeline.data.tokens.shards import ShardedRows
from pipeline.errors import RecipeError, TrainingError
from pipeline.store.files import Hasher, human_bytes
from pipeline.training.optimizer import RATES

ONE_DEVICE = MeshShape()
HALF_BYTES = 2


def check_rows(rows: ShardedRows, what: str, tokenizer: Path, vocabulary_size: int, max_sequence_length: int) -> None:
    """Raise unless a model of this vocabulary can be trained on the rows.

    Args:
        rows: ShardedRows. What is trained on.
        what: str. Their name in messages, such as `the corpus`.
        tokenizer: Path. The tokenizer.json whose vocabulary the model gets.
        vocabulary_size: int. Tokens of that vocabulary.
        max_sequence_length: int. The recipe's `model.max_sequence_length`.

    Raises:
        RecipeError: the rows are longer than the model allows.
        TrainingError: there are none, or they were made with another tokenizer, or cannot hold the vocabulary's ids.
    """
    if not len(rows):
        raise TrainingError(f"{what} has no rows to train on; add data, or loosen preprocess.filters")
    if rows.sequence_length > max_sequence_length:
        raise RecipeError(
            f"{what} has rows of {rows.sequence_length} tokens (preprocess.sequence_length), and "
            f"model.max_sequence_length is {max_sequence_length}; raise the one or lower the other"
        )
    dtype = rows.arrays[0]["token_ids"].dtype
    if vocabulary_size > int(np.iinfo(dtype).max) + 1:
        raise TrainingError(
            f"{what} holds its tokens as {dtype}, which counts to {np.iinfo(dtype).max}, and the vocabulary has "
            f"{vocabulary_size} tokens; make the rows anew with this tokenizer: `tradewind step preprocess`"
        )
    found = Hasher().sha256(tokenizer)
    if rows.tokenizer not in (None, found):
        raise TrainingError(
            f"{what} was made with another tokenizer (sha256 {str(rows.tokenizer)[:12]}) than {tokenizer} "
            f"({found[:12]}); make the rows anew with this one: `tradewind step preprocess`"
        )


def check_optimization(config: Optimization, learning_rate: float, total_steps: int) -> None:
    """Raise unless there is something to do and a rate to do it at; recipes are checked before, direct calls here.

    Raises:
        RecipeError: no steps, a learning rate that is not above 0, or an unknown optimizer.
    """
    if total_steps < 1:
        raise RecipeError(f"the training has {total_steps} updates; set steps or epochs to 1 or more")
    if not 0 < learning_rate < math.inf:
        raise RecipeError(
            f"learning_rate is {learning_rate}; it must be a number above 0, such as 0.001: the optimizer subtracts "
            "the gradient by itself"
        )
    if config.optimizer not in RATES:
        raise RecipeError(f"optimizer is {config.optimizer!r}; it must be one of {', '.join(RATES)}")


@dataclass(frozen=True)
class Load:
    """What a training puts on a device.

    Attributes:
        training: Training. What is trained.
        rows: int. Of a micro-batch, on the device.
        mesh: MeshShape. The devices that share the model and the batch.
        accelerated: bool. Whether they are GPUs or TPUs, where half precision would halve the activations; a
            processor's programs keep most of them in float32.
    """

    training: Training
    rows: int
    mesh: MeshShape = ONE_DEVICE
    accelerated: bool = False

    def memory(self, rows: int | None = None) -> DeviceMemory:
        """Return the estimate for one device, for another number of rows where one is given."""
        return memory_per_device(self.training, self.mesh, rows or self.rows)


def check_memory(load: Load, available: int) -> DeviceMemory:
    """Return the estimate of the memory that training needs.

    Args:
        load: Load. What is trained.
        available: int. Bytes that are free on the device.

    Raises:
        TrainingError: it is more than there is.
    """
    memory = load.memory()
    if memory.total <= available:
        return memory
    parts = ", ".join(f"{part} {human_bytes(size)}" for part, size in memory.parts().items())
    raise TrainingError(
        f"training needs about {human_bytes(memory.total)} of memory ({parts}), and {human_bytes(available)} are free; "
        f"{'; or '.join(_remedies(load, available))}"
    )


def _remedies(load: Load, available: int) -> list[str]:
    remedies = []
    halves = (load.rows >> shift for shift in range(1, load.rows.bit_length()))
    fitting = next((rows for rows in halves if load.memory(rows).total <= available), None)
    if fitting:
        remedies.append(f"set runtime.micro_batch_size to {fitting}, which needs {_needed(load, fitting)}")
    remedies.append("choose a smaller model.size or preprocess.sequence_length")
    if load.mesh.data > 1:
        remedies.append("give devices of runtime.mesh.data to fsdp, which shares weights and optimizer among them")
    if load.accelerated and load.training.activation_bytes > HALF_BYTES:
        remedies.append("set runtime.precision to mixed_bfloat16")
    return remedies


def _needed(load: Load, rows: int) -> str:
    return human_bytes(load.memory(rows).total)
