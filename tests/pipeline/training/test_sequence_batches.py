"""What a model that writes learns from: shifted by one, asked for the target only, and nothing of a neighbour."""

import numpy as np
import pytest
from tiny_models import LENGTH, VOCABULARY, WORDS, answers, make_causal_model, make_span_model

from models.objectives import written_tokens
from pipeline.data.tokens.packing import PackedRows, pack
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.shards import ShardedRows, write_index, write_shards
from pipeline.training.batches import BatchShape, CompletionBatches, TeacherBatches
from pipeline.training.batches.order import RowRandom
from pipeline.training.batches.sequences import widths_of

START, PAD, SEPARATOR = WORDS.start, WORDS.pad, 2
VOCABULARY_OF_PAIRS = type(WORDS)(VOCABULARY, PAD, START, 3, SEPARATOR, frozenset({0, 1, 2, 3}))
# source, separator, target, end; the last target was cut off
PAIRS = [([START, 10, 11], [20, 21, 22]), ([START, 12], [23]), ([START, 13, 14, 15], [24, 25, 26, 27])]
CUT = 2


def packed() -> PackedRows:
    documents = [
        np.array([*source, SEPARATOR, *target, *([SEPARATOR] if number != CUT else [])])
        for number, (source, target) in enumerate(PAIRS)
    ]
    return pack(Ragged.of(documents), LENGTH, seed=0, pad=PAD)


def made(kind, **arguments):
    nothing = None
    batches = kind(nothing, BatchShape(2, 2), VOCABULARY_OF_PAIRS, 0, **arguments)
    return batches.make(packed(), RowRandom.of([0], BatchShape(2, 2)))


def teacher():
    rows = packed()
    return made(TeacherBatches, widths=widths_of([(rows.token_ids, rows.segment_ids)], SEPARATOR))


def of(batch, row, segment, *names):
    """The values of a segment, by the segment numbers of the first name."""
    here = batch[names[0]][row] == segment
    return [batch[name][row][here].tolist() for name in names[1:]]


def test_a_decoder_row_is_the_target_shifted_by_one_with_the_source_in_the_same_segment() -> None:
    batch, rows = teacher(), packed()
    for row, owners in enumerate(rows.documents):
        for segment, owner in enumerate(owners[owners >= 0], start=1):
            source, target = PAIRS[owner]
            written = [*target, *([SEPARATOR] if owner != CUT else [])]
            assert of(batch, row, segment, "segment_ids", "token_ids") == [source]
            reads, targets, weights = of(
                batch, row, segment, "decoder_segment_ids", "decoder_token_ids", "targets", "weights"
            )
            assert (reads, targets) == ([START, *written[:-1]], written)
            assert weights == [1.0] * len(written)
    assert not batch["weights"][batch["decoder_segment_ids"] == 0].any()
    assert batch["weights"].sum() == sum(len(target) + (number != CUT) for number, (_, target) in enumerate(PAIRS))
    assert {batch[name].shape[1] % 8 for name in ("token_ids", "targets")} == {0}


def test_a_completion_is_asked_for_and_its_prompt_is_not() -> None:
    batch, rows = made(CompletionBatches), packed()
    np.testing.assert_array_equal(batch["token_ids"], rows.token_ids)
    for row, owners in enumerate(rows.documents):
        for segment, owner in enumerate(owners[owners >= 0], start=1):
            source, target = PAIRS[owner]
            written = [*target, *([SEPARATOR] if owner != CUT else [])]
            targets, weights = of(batch, row, segment, "segment_ids", "targets", "weights")
            asked = [token for token, weight in zip(targets, weights, strict=True) if weight]
            assert asked == written
            assert weights[: len(source)] == [0.0] * len(source)  # its own separator is the first that is asked at
            assert weights[-1] == 0.0


@pytest.mark.parametrize("kind", ["encoder_decoder", "decoder"])
def test_no_token_is_answered_from_itself_or_from_a_neighbour(kind) -> None:
    """What a position answers may depend on its own source and the target before it, and on nothing else."""
    if kind == "decoder":
        model, batch, inputs = make_causal_model(), made(CompletionBatches), ("token_ids", "segment_ids")
        reads, segments = "token_ids", batch["segment_ids"]
    else:
        model, batch = make_span_model(), teacher()
        inputs = ("token_ids", "segment_ids", "decoder_token_ids", "decoder_segment_ids")
        reads, segments = "decoder_token_ids", batch["decoder_segment_ids"]
    before = answers(model, {name: batch[name] for name in inputs})
    for row, place in zip(*np.nonzero(batch["weights"]), strict=True):
        # Whatever may be seen stays; all else of the row is another token.
        changed = {name: batch[name].copy() for name in inputs}
        own = segments[row] == segments[row, place]
        seen = own & (np.arange(len(own)) <= place)
        changed[reads][row] = np.where(seen, batch[reads][row], 30)
        if kind == "encoder_decoder":
            its = batch["segment_ids"][row] == segments[row, place]
            changed["token_ids"][row] = np.where(its, batch["token_ids"][row], 31)
        after = answers(model, changed)
        np.testing.assert_allclose(after[row, place], before[row, place], atol=1e-5)


def test_the_source_decides_what_is_written() -> None:
    model, batch = make_span_model(), teacher()
    inputs = {name: batch[name] for name in model.input_shapes}
    before = answers(model, inputs)
    other = inputs | {"token_ids": np.where(batch["token_ids"] == 10, 17, batch["token_ids"])}
    moved = np.abs(answers(model, other) - before).max(axis=-1) > 1e-4  # (rows, seq)
    rows = packed()
    row, segment = np.argwhere(rows.documents == 0)[0]
    expected = np.zeros_like(moved)
    expected[row] = batch["decoder_segment_ids"][row] == segment + 1
    np.testing.assert_array_equal(moved, expected)


def test_every_sequence_comes_once_in_order_and_repeated_rows_weigh_nothing(tmp_path) -> None:
    rows = packed()
    write_index(write_shards(rows, tmp_path, 0, rows_per_shard=1), tmp_path, LENGTH)
    batches = CompletionBatches(ShardedRows(tmp_path), BatchShape(4, 2), VOCABULARY_OF_PAIRS, seed=0)
    (batch,) = batches.in_order()
    assert batch["token_ids"].shape == (2, 2, LENGTH)
    assert batch["weights"].sum() == sum(len(target) + (number != CUT) for number, (_, target) in enumerate(PAIRS))


def test_validation_counts_tokens_and_smooths_nothing() -> None:
    model, batch = make_span_model(), teacher()
    plain = written_tokens(model, batch, training=False, label_smoothing=0.3)
    logits = answers(model, {name: batch[name] for name in model.input_shapes}).astype(np.float64)
    chosen = batch["weights"] > 0
    shifted = logits[chosen] - np.log(np.exp(logits[chosen]).sum(axis=-1, keepdims=True))
    wanted = batch["targets"][chosen]
    assert float(plain.loss) == pytest.approx(-shifted[np.arange(len(wanted)), wanted].sum(), rel=1e-4)
    right = (logits[chosen].argmax(axis=-1) == wanted).sum()
    np.testing.assert_array_equal(np.asarray(plain.counts), [right, len(wanted)])
    assert float(written_tokens(model, batch, training=True, label_smoothing=0.3).loss) != pytest.approx(
        float(plain.loss)
    )
