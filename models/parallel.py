"""A model over several devices: what each holds, and what they tell each other in an update.

The mesh has three axes. The rows of a batch are dealt over `data` and `fsdp`. Over `fsdp` each device keeps a part of
every matrix and of its optimizer slots, and gathers the whole when it computes (Rajbhandari 2019, arXiv 1910.02054,
stage 3). Over `model` it computes with a part of every matrix (Shoeybi 2019, arXiv 1909.08053): queries, keys, values
and the input of the feed-forward by columns, what follows them by rows, and the embedding by rows of the vocabulary.
Norms are whole everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from models.cost import (
    NO_GROUPS,
    GroupHead,
    block_kernels,
    feedforward_kernels,
    kept_values,
    key_value_dim,
    optimizer_slots,
    parameters,
)
from models.size import Dimensions

GATHERS = ("update", "micro_batch")
FLOAT = 4  # bytes of a weight, a gradient and an optimizer slot


@dataclass(frozen=True)
class MeshShape:
    """How many devices stand along each axis."""

    data: int = 1
    fsdp: int = 1
    model: int = 1

    @property
    def devices(self) -> int:
        """All."""
        return self.data * self.fsdp * self.model

    @property
    def batch_shards(self) -> int:
        """Among how many the rows of a batch are dealt."""
        return self.data * self.fsdp

    def __str__(self) -> str:
        return f"data={self.data},fsdp={self.fsdp},model={self.model}"


@dataclass(frozen=True)
class Training:
    """What is trained, as far as memory and communication ask.

    Attributes:
        dimensions: Dimensions. Of the model.
        vocabulary_size: int. Rows of the embedding.
        sequence_length: int. Tokens in a row.
        predictions_per_token: float. As in `flops_per_token`.
        optimizer: str. sgd, adam, adamw, lion or muon.
        ema: bool. Whether an average of the weights is kept.
        activation_bytes: int. Of a number in an activation, kept or sent: 4, or 2 in half precision.
        fused_attention: bool. Whether the attention kernel keeps no scores.
        gather: str. When weights are gathered over `fsdp`: once per `update`, or twice per `micro_batch`.
        groups: GroupHead. What an encoder tells beside its tokens.
    """

    dimensions: Dimensions
    vocabulary_size: int
    sequence_length: int
    predictions_per_token: float = 1.0
    optimizer: str = "adamw"
    ema: bool = False
    activation_bytes: int = 4
    fused_attention: bool = False
    gather: str = "update"
    groups: GroupHead = NO_GROUPS


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device by part; `gathered` holds the weights that the device gathers and does not keep."""

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int

    def parts(self) -> dict[str, int]:
        """Return the parts that there are, by name."""
        return {part: size for part, size in asdict(self).items() if size}

    @property
    def total(self) -> int:
        """All."""
        return self.weights + self.gradients + self.optimizer + self.gathered + self.activations


@dataclass(frozen=True)
class Transfer:
    """One kind of collective along one axis.

    Attributes:
        kind: str. all_gather, reduce_scatter or all_reduce.
        axis: str. data, fsdp or model.
        what: str. What is sent, in words.
        size: int. Bytes of the whole array: what a gather returns, what a reduction starts from.
        times: int. How often per update `size` is sent.
        calls: int. Collectives that one such time takes.
    """

    kind: str
    axis: str
    what: str
    size: int
    times: int = 1
    calls: int = 1

    def sent(self, devices: int) -> float:
        """Return the bytes that each device sends per update in a ring of `devices`."""
        rounds = 2 if self.kind == "all_reduce" else 1
        return self.times * rounds * (devices - 1) / devices * self.size

    def steps(self, devices: int) -> int:
        """Return how many steps of a ring the device waits for per update."""
        rounds = 2 if self.kind == "all_reduce" else 1
        return self.times * self.calls * rounds * (devices - 1)


def misfit(dimensions: Dimensions, mesh: MeshShape) -> str | None:
    """Return why the model cannot be cut as the mesh says, with what to change; None when it can."""
    whole = {
        "model": {
            "num_heads": dimensions.num_heads,
            "num_key_value_heads": dimensions.num_key_value_heads,
            "feedforward_dim": dimensions.feedforward_dim,
        },
        "fsdp": {"hidden_dim": dimensions.hidden_dim},
    }
    for axis, lengths in whole.items():
        parts = getattr(mesh, axis)
        for name, length in lengths.items():
            if length % parts:
                return f"{axis} is {parts}, which does not divide model.{name} ({length})"
    return None


def memory_per_device(training: Training, mesh: MeshShape, rows: int) -> DeviceMemory:
    """Return what each device holds: exact for weights and optimizer, an estimate for activations.

    With n the matrices' parameters on one device of `model` and s optimizer slots each: weights 4 n / fsdp, optimizer
    4 s n / fsdp. Over more than one device of `fsdp`, `gather` update adds the gathered weights 4 n and the gradients
    4 n, and micro_batch the largest layer gathered and the gradients 4 n / fsdp.

    Args:
        training: Training. What is trained.
        mesh: MeshShape. Over what; `misfit` has nothing against it.
        rows: int. Rows of a micro-batch on this device.

    Raises:
        ValueError: the optimizer or the way of gathering is unknown.
    """
    if training.gather not in GATHERS:
        raise ValueError(f"gather is {training.gather!r}; it must be one of {', '.join(GATHERS)}")
    held = _held(training, mesh)
    kept = held.matrices / mesh.fsdp + held.vectors
    sharded, once = mesh.fsdp > 1, training.gather == "update"
    largest = max(held.embedding, held.layer)
    gathered = (held.matrices if once else largest) if sharded else 0
    return DeviceMemory(
        weights=round(FLOAT * kept),
        gradients=round(FLOAT * (kept if sharded and not once else held.matrices + held.vectors)),
        optimizer=round(FLOAT * (held.matrix_slots / mesh.fsdp + held.vector_slots)),
        gathered=round(FLOAT * gathered),
        activations=round(activations_per_row(training, mesh) * rows),
    )


def activations_per_row(training: Training, mesh: MeshShape) -> float:
    """Return the bytes of activations that each row of a micro-batch adds on a device."""
    values = kept_values(
        training.dimensions,
        training.vocabulary_size,
        training.sequence_length,
        training.predictions_per_token,
        score_copies=0 if training.fused_attention else 3,
        parts=mesh.model,
        vocabulary_parts=vocabulary_parts(training, mesh),
        groups=training.groups,
    )
    return training.activation_bytes * training.sequence_length * values


def vocabulary_parts(training: Training, mesh: MeshShape) -> int:
    """Return in how many parts the vocabulary is cut: not at all where `model` does not divide it."""
    return mesh.model if training.vocabulary_size % mesh.model == 0 else 1


def transfers(training: Training, mesh: MeshShape, rows: int, micro_batches: int) -> list[Transfer]:
    """Return what the devices of a mesh send each other in one update; nothing along an axis of one.

    Args:
        training: Training. What is trained.
        mesh: MeshShape. Over what.
        rows: int. Rows of a micro-batch on one device.
        micro_batches: int. Forward passes per update on each device.
    """
    along = {"data": mesh.data, "fsdp": mesh.fsdp, "model": mesh.model}
    found = [*_of_weights(training, mesh, micro_batches), *_of_activations(training, mesh, rows, micro_batches)]
    return [transfer for transfer in found if along[transfer.axis] > 1 and transfer.size]


def _of_weights(training: Training, mesh: MeshShape, micro_batches: int) -> Iterator[Transfer]:
    held = _held(training, mesh)
    matrices, vectors = round(FLOAT * held.matrices), FLOAT * held.vectors
    layers = training.dimensions.num_layers * (2 if training.dimensions.architecture == "encoder_decoder" else 1)
    often = micro_batches if training.gather == "micro_batch" else 1
    twice = 2 if training.gather == "micro_batch" else 1
    yield Transfer("all_gather", "fsdp", "weights", matrices, often * twice, layers + 1)
    yield Transfer("reduce_scatter", "fsdp", "gradients", matrices, often, layers + 1)
    yield Transfer("all_reduce", "fsdp", "gradients of norms", vectors)
    yield Transfer("all_reduce", "data", "gradients", round(matrices / mesh.fsdp) + vectors, 1, layers + 1)


def _of_activations(training: Training, mesh: MeshShape, rows: int, micro_batches: int) -> Iterator[Transfer]:
    dimensions = training.dimensions
    tokens = rows * training.sequence_length
    predictions = 1.0 if dimensions.architecture == "decoder" else training.predictions_per_token
    states = tokens * dimensions.hidden_dim * training.activation_bytes  # (rows, seq, hidden)
    layers = dimensions.num_layers
    # Positions that pass each way through an attention or a feed-forward, in units of one row of tokens. The last block
    # of an encoder answers where it is asked, and the gradient of its keys and values reaches every token.
    match dimensions.architecture:
        case "encoder":
            answering = training.groups.answering(predictions)
            forward, backward = 2 * (layers - 1) + 2 * answering, 2 * (layers - 1) + 1 + answering
        case "decoder":
            forward = backward = 2.0 * layers
        case _:
            # Cross-attention sends back two gradients: of what asks, and of what is looked at.
            forward, backward = layers * (2 + 3 * predictions), layers * (2 + 3 * predictions + 1)
    halves = layers * (5 if dimensions.architecture == "encoder_decoder" else 2)
    yield Transfer("all_reduce", "model", "outputs of blocks", round(states * forward), micro_batches, halves)
    yield Transfer("all_reduce", "model", "gradients into blocks", round(states * backward), micro_batches, halves)
    if dimensions.architecture == "encoder":
        head = round(states * predictions)
        yield Transfer("all_gather", "model", "the head's states", head, micro_batches)
        yield Transfer("all_reduce", "model", "gradients into the head", head, micro_batches)
    if vocabulary_parts(training, mesh) == 1:
        return
    embedded = 1 + predictions if dimensions.architecture == "encoder_decoder" else 1.0
    yield Transfer("all_reduce", "model", "embedded tokens", round(states * embedded), micro_batches)
    # Of each prediction the largest logit, the sum of the exponentials and the answer's logit.
    yield Transfer("all_reduce", "model", "sums over logits", round(3 * FLOAT * tokens * predictions), micro_batches, 3)
    yield Transfer("all_reduce", "model", "gradients of states", round(states * predictions), micro_batches)


@dataclass(frozen=True)
class _Held:
    """Numbers on one device of `model` once `fsdp` is gathered: all matrices, one embedding, one layer, all vectors."""

    matrices: float
    vectors: int
    embedding: float
    layer: float
    matrix_slots: float
    vector_slots: float


def _held(training: Training, mesh: MeshShape) -> _Held:
    dimensions, size = training.dimensions, training.vocabulary_size
    counted = parameters(dimensions, size, training.groups)
    kernels = block_kernels(dimensions)
    head = dimensions.hidden_dim * (dimensions.hidden_dim + training.groups.groups)
    head = head if dimensions.architecture == "encoder" else 0
    vectors = counted.total - counted.embedding - kernels - head
    embedding = counted.embedding / vocabulary_parts(training, mesh)
    matrices = kernels / mesh.model + head + embedding  # `models.layout` cuts no head along `model`
    # Muon keeps one number for a kernel of a block and two for all else; the others treat all parameters alike.
    slots = optimizer_slots(dimensions, size, training.optimizer, training.groups)
    each = 2 if training.optimizer == "muon" else slots // counted.total
    kernel_slots = (slots - each * (counted.total - kernels)) // kernels
    average = 1 if training.ema else 0
    others = head + embedding
    crossing = 2 if dimensions.architecture == "encoder_decoder" else 1
    attention = crossing * 2 * dimensions.hidden_dim * (dimensions.hidden_dim + key_value_dim(dimensions))
    feedforward = feedforward_kernels(dimensions) * dimensions.hidden_dim * dimensions.feedforward_dim
    return _Held(
        matrices=matrices,
        vectors=vectors,
        embedding=embedding / (1 if dimensions.tie_embeddings else 2),
        layer=(attention + feedforward) / mesh.model,
        matrix_slots=(kernel_slots + average) * kernels / mesh.model + (each + average) * others,
        vector_slots=(each + average) * vectors,
    )
