"""Memory and traffic of a small model, counted by hand."""

from dataclasses import replace

import pytest

from models.cost import kept_values, optimizer_slots, parameters
from models.parallel import (
    MeshShape,
    Training,
    activations_per_row,
    memory_per_device,
    misfit,
    transfers,
    vocabulary_parts,
)
from models.size import derive_dimensions

VOCABULARY, LENGTH = 40, 10
DECODER = derive_dimensions(
    "tiny", num_layers=2, hidden_dim=16, num_heads=4, feedforward_dim=24, architecture="decoder"
)
# Embedding 40 x 16; a block: 16 x (2 x 16 + 2 x 16) and 3 x 16 x 24; norms: 2 x 2 + 2 of 16 and 2 x 2 of a head's 4.
EMBEDDING, BLOCK, VECTORS = 640, 1024 + 1152, 6 * 16 + 4 * 4
MATRICES = EMBEDDING + 2 * BLOCK
TRAINING = Training(DECODER, VOCABULARY, LENGTH)


def found(
    training: Training, mesh: MeshShape, rows: int = 2, micro_batches: int = 3
) -> dict[tuple[str, str, str], tuple]:
    sent = transfers(training, mesh, rows, micro_batches)
    return {(one.kind, one.axis, one.what): (one.size, one.times) for one in sent}


def test_the_counts_of_this_file_are_those_of_the_model() -> None:
    assert parameters(DECODER, VOCABULARY).total == MATRICES + VECTORS


@pytest.mark.parametrize("optimizer", ["sgd", "lion", "adam", "adamw", "muon"])
@pytest.mark.parametrize("architecture", ["encoder", "decoder", "encoder_decoder"])
def test_one_device_holds_everything(optimizer, architecture) -> None:
    dimensions = replace(DECODER, architecture=architecture)
    training = Training(dimensions, VOCABULARY, LENGTH, 0.3, optimizer, ema=True)
    one = memory_per_device(training, MeshShape(), rows=5)
    total = parameters(dimensions, VOCABULARY).total
    assert one.weights == one.gradients == 4 * total
    assert one.optimizer == 4 * (optimizer_slots(dimensions, VOCABULARY, optimizer) + total)
    values = kept_values(dimensions, VOCABULARY, LENGTH, 0.3, score_copies=3)
    assert (one.activations, one.gathered) == (round(4 * 5 * LENGTH * values), 0)


def test_data_alone_divides_nothing() -> None:
    assert memory_per_device(TRAINING, MeshShape(data=8), 2) == memory_per_device(TRAINING, MeshShape(), 2)


def test_fsdp_divides_weights_and_slots_and_gathers_once_per_update() -> None:
    memory = memory_per_device(TRAINING, MeshShape(fsdp=4), 2)
    assert memory.weights == 4 * (MATRICES / 4 + VECTORS)
    assert memory.optimizer == 8 * (MATRICES / 4 + VECTORS)
    assert memory.gathered == 4 * MATRICES
    assert memory.gradients == 4 * (MATRICES + VECTORS)
    assert memory.activations == memory_per_device(TRAINING, MeshShape(), 2).activations


def test_gathering_per_micro_batch_keeps_one_layer_and_parts_of_the_gradients() -> None:
    memory = memory_per_device(replace(TRAINING, gather="micro_batch"), MeshShape(fsdp=4), 2)
    assert memory.gradients == memory.weights == 4 * (MATRICES / 4 + VECTORS)
    assert memory.gathered == 4 * BLOCK
    wide = memory_per_device(replace(TRAINING, gather="micro_batch", vocabulary_size=400), MeshShape(fsdp=4), 2)
    assert wide.gathered == 4 * 400 * 16  # the embedding is larger than a block


def test_model_divides_matrices_and_what_has_heads_inner_widths_or_the_vocabulary() -> None:
    memory = memory_per_device(TRAINING, MeshShape(model=2), 1)
    assert memory.weights == memory.gradients == 4 * (MATRICES / 2 + VECTORS)
    assert memory.gathered == 0
    # Per token: of a block 4 whole widths, 10 parted ones, keys and values, inner widths and scores; of the embedding
    # 10 widths, and the logits twice.
    block = 4 * 16 + (10 * 16 + 4 * 16 + 2 * 3 * 24 + 3 * 4 * LENGTH) / 2
    assert memory.activations == 4 * LENGTH * (2 * block + 10 * 16 + 2 * VOCABULARY / 2)


def test_a_vocabulary_that_does_not_divide_stays_whole() -> None:
    odd = replace(TRAINING, vocabulary_size=41)
    assert (vocabulary_parts(TRAINING, MeshShape(model=2)), vocabulary_parts(odd, MeshShape(model=2))) == (2, 1)
    assert memory_per_device(odd, MeshShape(model=2), 1).weights == 4 * (BLOCK + 41 * 16 + VECTORS)
    assert all("logits" not in one.what for one in transfers(odd, MeshShape(model=2), 1, 1))


def test_half_precision_and_fused_attention_take_less() -> None:
    plain = activations_per_row(TRAINING, MeshShape())
    assert activations_per_row(replace(TRAINING, activation_bytes=2), MeshShape()) == plain / 2
    fused = activations_per_row(replace(TRAINING, fused_attention=True), MeshShape())
    assert plain - fused == 4 * LENGTH * 2 * 3 * 4 * LENGTH


def test_one_device_sends_nothing() -> None:
    assert transfers(TRAINING, MeshShape(), 2, 3) == []


def test_data_reduces_every_gradient_once() -> None:
    assert found(TRAINING, MeshShape(data=4)) == {("all_reduce", "data", "gradients"): (4 * (MATRICES + VECTORS), 1)}


def test_fsdp_sends_weights_and_gradients_once_per_update_or_per_micro_batch() -> None:
    mesh = MeshShape(data=2, fsdp=4)
    once = found(TRAINING, mesh)
    assert once[("all_gather", "fsdp", "weights")] == (4 * MATRICES, 1)
    assert once[("reduce_scatter", "fsdp", "gradients")] == (4 * MATRICES, 1)
    assert once[("all_reduce", "data", "gradients")] == (MATRICES + 4 * VECTORS, 1)
    often = found(replace(TRAINING, gather="micro_batch"), mesh)
    assert often[("all_gather", "fsdp", "weights")] == (4 * MATRICES, 6)
    assert often[("reduce_scatter", "fsdp", "gradients")] == (4 * MATRICES, 3)
    assert often[("all_reduce", "data", "gradients")] == (MATRICES + 4 * VECTORS, 1)


def test_model_sums_twice_in_every_block_each_way() -> None:
    states = 2 * LENGTH * 16 * 4  # rows x seq x hidden x bytes
    sent = found(TRAINING, MeshShape(model=2))
    assert sent[("all_reduce", "model", "outputs of blocks")] == (states * 2 * 2, 3)
    assert sent[("all_reduce", "model", "gradients into blocks")] == (states * 2 * 2, 3)
    assert sent[("all_reduce", "model", "embedded tokens")] == (states, 3)
    assert sent[("all_reduce", "model", "sums over logits")] == (3 * 4 * 2 * LENGTH, 3)


def test_a_ring_of_four_sends_three_quarters_and_an_all_reduce_twice_that() -> None:
    gather, scatter, norms, reduce = transfers(TRAINING, MeshShape(data=4, fsdp=4), 2, 3)
    assert gather.sent(4) == scatter.sent(4) == 0.75 * 4 * MATRICES
    assert norms.sent(4) == 1.5 * 4 * VECTORS
    assert reduce.sent(4) == 1.5 * (MATRICES + 4 * VECTORS)
    assert (gather.steps(4), reduce.steps(4)) == (3 * 3, 3 * 6)  # one for each block, and one for the embedding


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (MeshShape(model=8), "model is 8, which does not divide model.num_heads (4)"),
        (MeshShape(model=4), "model is 4, which does not divide model.num_key_value_heads (2)"),
        (MeshShape(fsdp=3), "fsdp is 3, which does not divide model.hidden_dim (16)"),
        (MeshShape(data=7, fsdp=8, model=2), None),
    ],
)
def test_a_mesh_that_cannot_cut_the_model_is_told(mesh, message) -> None:
    assert misfit(replace(DECODER, num_key_value_heads=2), mesh) == message


def test_an_unknown_way_of_gathering_is_told() -> None:
    with pytest.raises(ValueError, match="gather is 'never'; it must be one of update, micro_batch"):
        memory_per_device(replace(TRAINING, gather="never"), MeshShape(), 1)
