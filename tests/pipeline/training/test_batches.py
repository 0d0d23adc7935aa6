import numpy as np
import pytest

from pipeline.config import Pretrain
from pipeline.data.tokens.packing import PackedRows, pack
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.shards import ShardedRows, write_index, write_shards
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.targets import embedding_rows
from pipeline.training.batches import (
    BatchShape,
    CausalBatches,
    LabelledBatches,
    MaskedBatches,
    SpanBatches,
    shuffled_rows,
)
from pipeline.training.batches.objective import corpus_batches, synthetic_batch

VOCABULARY, LENGTH, FIRST, MASK_ID = 500, 32, 3, 2
WORDS = Vocabulary(VOCABULARY, pad=0, start=1, mask=MASK_ID, separator=1, special=frozenset({0, 1, 2}))


def make_rows(folder, documents: int) -> ShardedRows:
    random = np.random.default_rng(0)
    pieces = [
        np.concatenate([[1], random.integers(FIRST, VOCABULARY, random.integers(2, 12))]) for _ in range(documents)
    ]
    return stored(pack(Ragged.of(pieces), LENGTH, seed=0, pad=0), folder)


def stored(packed: PackedRows, folder) -> ShardedRows:
    write_index(write_shards(packed, folder, 0, rows_per_shard=7), folder, packed.token_ids.shape[1])
    return ShardedRows(folder)


def masked(rows: ShardedRows, seed: int = 3, shape: BatchShape | None = None) -> MaskedBatches:
    return MaskedBatches(rows, shape or BatchShape(8, 4), WORDS, mask_fraction=0.2, seed=seed)


def flat(batch, name: str) -> np.ndarray:
    return batch[name].reshape(-1, *batch[name].shape[2:])


def stream(steps: int, batch_size: int, rows: int, seed: int = 1) -> np.ndarray:
    return np.concatenate([shuffled_rows(step, batch_size, rows, seed) for step in range(steps)])


@pytest.mark.parametrize(("rows", "batch_size"), [(60, 4), (7, 3), (10, 10), (3, 8), (2, 5), (1, 4)])
def test_every_epoch_is_a_permutation_of_all_rows(rows, batch_size) -> None:
    numbers = stream(rows * 4, batch_size, rows)
    for epoch in numbers[: len(numbers) // rows * rows].reshape(-1, rows):
        assert sorted(epoch) == list(range(rows))


def test_epochs_and_seeds_differ_and_a_step_is_a_pure_function() -> None:
    first, second = stream(20, 5, 50).reshape(2, 50)
    assert list(first) != list(second)
    assert list(first) != sorted(first)
    assert list(first) != list(stream(10, 5, 50, seed=2))
    late = shuffled_rows(10**6, 5, 50, seed=1)
    np.testing.assert_array_equal(late, shuffled_rows(10**6, 5, 50, seed=1))
    np.testing.assert_array_equal(stream(10, 5, 50), stream(5, 10, 50))


@pytest.fixture
def rows(tmp_path) -> ShardedRows:
    return make_rows(tmp_path, 200)


def test_the_targets_are_the_hidden_tokens_of_the_rows(rows) -> None:
    batch = masked(rows).batch(4)
    original = rows.take(shuffled_rows(4, 8, len(rows), 3))
    positions, weights = flat(batch, "positions"), flat(batch, "weights")
    assert batch["token_ids"].shape == (2, 4, LENGTH)
    assert positions.shape == (8, round(0.2 * LENGTH))
    assert {name: str(array.dtype) for name, array in batch.items()} == {
        "token_ids": "int32",
        "segment_ids": "int32",
        "positions": "int32",
        "targets": "int32",
        "weights": "float32",
    }
    np.testing.assert_array_equal(flat(batch, "segment_ids"), original.segment_ids)
    np.testing.assert_array_equal(
        flat(batch, "targets"), np.take_along_axis(original.token_ids.astype(np.int32), positions, axis=1)
    )
    touched = np.zeros((8, LENGTH), bool)
    np.put_along_axis(touched, positions, weights > 0, axis=1)
    np.testing.assert_array_equal(flat(batch, "token_ids")[~touched], original.token_ids[~touched])
    assert (np.diff(positions, axis=1) > 0).all()  # no position is asked for twice


def test_of_the_hidden_tokens_eight_in_ten_are_masked_and_one_is_random(rows) -> None:
    shown, targets = [], []
    for step in range(60):
        batch = masked(rows).batch(step)
        seen = np.take_along_axis(flat(batch, "token_ids"), flat(batch, "positions"), axis=1)
        valid = flat(batch, "weights") > 0
        shown.append(seen[valid])
        targets.append(flat(batch, "targets")[valid])
    shown, targets = np.concatenate(shown), np.concatenate(targets)
    assert len(shown) > 2000
    assert (targets >= FIRST).all()
    kept, hidden = shown == targets, shown == MASK_ID
    assert hidden.mean() == pytest.approx(0.8, abs=0.03)
    assert kept.mean() == pytest.approx(0.1, abs=0.03)
    strangers = shown[~kept & ~hidden]
    assert strangers.min() >= FIRST
    assert strangers.max() < VOCABULARY
    assert len(set(strangers)) > 50


def test_padding_and_special_tokens_are_never_asked_for(tmp_path) -> None:
    row = np.array([[1, 7, 1, 9, 0, 0, 0, 0, 0, 0]], np.uint16)
    segments = np.array([[1, 1, 2, 2, 0, 0, 0, 0, 0, 0]], np.uint16)
    rows = stored(PackedRows(row, segments, np.array([[0, 1]], np.int32)), tmp_path)
    batches = MaskedBatches(rows, BatchShape(3, 3), WORDS, mask_fraction=0.5, seed=0)
    for step in range(20):
        batch = batches.batch(step)
        weights, targets = flat(batch, "weights"), flat(batch, "targets")
        np.testing.assert_array_equal(weights.sum(axis=1), [2, 2, 2])  # two eligible tokens, five predictions
        assert set(targets[weights > 0]) == {7, 9}
        tokens = flat(batch, "token_ids")
        np.testing.assert_array_equal(tokens[:, [0, 2]], 1)
        np.testing.assert_array_equal(tokens[:, 4:], 0)


def test_masks_are_a_pure_function_of_seed_and_step(rows) -> None:
    def tokens(seed: int, step: int) -> np.ndarray:
        return masked(rows, seed).batch(step)["token_ids"]

    np.testing.assert_array_equal(tokens(3, 11), tokens(3, 11))
    assert (tokens(3, 11) != tokens(4, 11)).any()
    steps = len(rows)  # both steps show whole epochs, so the same rows come with other masks
    assert (masked(rows, 3, BatchShape(steps, steps)).batch(0)["weights"].sum()) > 0
    assert (tokens(3, 0) != tokens(3, 1)).any()


def test_micro_batches_are_the_global_batch_folded(rows) -> None:
    whole, folded = (masked(rows, shape=BatchShape(8, micro)).batch(2) for micro in (8, 2))
    for name, array in whole.items():
        assert folded[name].shape[:2] == (4, 2)
        np.testing.assert_array_equal(flat(folded, name), flat(whole, name))
        np.testing.assert_array_equal(folded[name][1], array[0, 2:4])


def test_a_micro_batch_is_never_larger_than_the_global_batch() -> None:
    assert BatchShape.of(8, None) == BatchShape(8, 8)
    assert BatchShape.of(8, 64) == BatchShape(8, 8)
    assert BatchShape.of(8, 2) == BatchShape(8, 2)


def test_validation_shows_every_row_once_and_always_alike(tmp_path) -> None:
    rows = make_rows(tmp_path, 50)
    assert len(rows) % 8
    batches = list(masked(rows).in_order())
    tokens = np.concatenate([flat(batch, "segment_ids") for batch in batches])
    counted = np.concatenate([flat(batch, "weights").sum(axis=1) > 0 for batch in batches])
    np.testing.assert_array_equal(np.flatnonzero(counted), np.arange(len(rows)))
    np.testing.assert_array_equal(tokens[counted], rows.take(np.arange(len(rows))).segment_ids)
    for first, second in zip(batches, masked(rows).in_order(), strict=True):
        for name, array in first.items():
            np.testing.assert_array_equal(second[name], array)


def test_fewer_rows_than_a_batch_count_once_in_validation_and_repeat_in_training(tmp_path) -> None:
    rows = make_rows(tmp_path, 4)
    assert 1 <= len(rows) < 8
    (batch,) = masked(rows).in_order()
    assert (flat(batch, "weights").sum(axis=1) > 0).sum() == len(rows)
    assert masked(rows).batch(0)["token_ids"].shape == (2, 4, LENGTH)
    (labelled,) = LabelledBatches(rows, np.arange(4), rows.segments_per_row, BatchShape(8, 4), seed=0).in_order()
    assert labelled["weights"].sum() == 4


def test_each_segment_carries_the_class_of_its_document(rows) -> None:
    labels = np.arange(200, dtype=np.int32) * 2
    batches = LabelledBatches(rows, labels, rows.segments_per_row + 2, BatchShape(8, 4), seed=6)
    batch = batches.batch(1)
    documents = rows.take(shuffled_rows(1, 8, len(rows), 6)).documents
    targets, weights = flat(batch, "targets"), flat(batch, "weights")
    assert targets.shape == (8, rows.segments_per_row + 2)
    np.testing.assert_array_equal(weights[:, :-2], documents >= 0)
    np.testing.assert_array_equal(weights[:, -2:], 0)
    np.testing.assert_array_equal(targets[:, :-2][documents >= 0], 2 * documents[documents >= 0])
    assert (targets[weights == 0] == 0).all()
    in_order = list(batches.in_order())
    seen = np.concatenate([flat(b, "targets")[flat(b, "weights") > 0] for b in in_order])
    assert sorted(seen) == sorted(labels)


def test_a_decoder_predicts_every_token_but_the_first_from_its_own_document(rows) -> None:
    batches = CausalBatches(rows, BatchShape(8, 4), WORDS, seed=3)
    batch = {name: array.reshape(-1, LENGTH) for name, array in batches.batch(2).items()}
    tokens, segments, weights = batch["token_ids"], batch["segment_ids"], batch["weights"]
    for row in range(8):
        for place in range(LENGTH):
            follows = place + 1 < LENGTH and segments[row, place] == segments[row, place + 1] > 0
            assert weights[row, place] == follows
            if follows:
                assert batch["targets"][row, place] == tokens[row, place + 1]


def spans(rows: ShardedRows, **options) -> SpanBatches:
    return SpanBatches(rows, BatchShape(8, 4), WORDS, seed=3, mask_fraction=0.25, span_length=2.0, **options)


def test_what_a_row_lost_stands_behind_its_sentinels_in_the_decoder(rows) -> None:
    batches = spans(rows)
    batch = {name: flat({name: array}, name) for name, array in batches.batch(2).items()}
    originals = rows.take(batches._numbers(2))
    budget = round(0.25 * LENGTH)
    lost_tokens = 0
    for row in range(8):
        counted = batch["weights"][row] > 0
        targets, owners = batch["targets"][row][counted], batch["decoder_segment_ids"][row][counted]
        spans_of: dict[int, list[int]] = {}
        for target in targets:
            if target >= VOCABULARY:
                spans_of[int(target)] = []
            else:
                spans_of[int(targets[targets >= VOCABULARY][len(spans_of) - 1])].append(int(target))
        rebuilt: list[int] = []
        for token, segment in zip(batch["token_ids"][row], batch["segment_ids"][row], strict=True):
            if segment:
                rebuilt += spans_of[int(token)] if token >= VOCABULARY else [int(token)]
        original = originals.token_ids[row][originals.segment_ids[row] > 0]
        assert rebuilt == list(original)
        lost = int((targets < VOCABULARY).sum())
        lost_tokens += lost
        assert lost <= budget
        assert not WORDS.special & set(targets.tolist())
        # The decoder reads the start of a document, then what it wrote.
        reads = batch["decoder_token_ids"][row][counted]
        for place in range(len(targets)):
            opens = place == 0 or owners[place] != owners[place - 1]
            assert reads[place] == (WORDS.start if opens else targets[place - 1])
    assert lost_tokens > 8 * budget / 2


def test_spans_are_a_pure_function_of_the_step_and_stay_in_their_document(rows) -> None:
    one, again, other = spans(rows).batch(4), spans(rows).batch(4), spans(rows).batch(5)
    for name, array in one.items():
        np.testing.assert_array_equal(again[name], array)
    assert (one["token_ids"] != other["token_ids"]).any()
    whole = {name: flat(one, name) for name in one}
    for row in range(8):
        for place in range(1, whole["targets"].shape[1]):
            if whole["weights"][row, place] and whole["targets"][row, place] < VOCABULARY:
                assert whole["decoder_segment_ids"][row, place] == whole["decoder_segment_ids"][row, place - 1]


@pytest.mark.parametrize("kind", [CausalBatches, spans])
def test_validation_counts_every_row_once(rows, kind) -> None:
    batches = kind(rows) if kind is spans else kind(rows, BatchShape(8, 4), WORDS, seed=3)
    batch = list(batches.in_order())
    assert len(batch) == -(-len(rows) // 8)
    counted = sum((flat(b, "weights").sum(axis=1) > 0).sum() for b in batch)
    assert counted <= len(rows)
    assert flat(batch[-1], "weights")[len(rows) % 8 :].sum() == 0 or len(rows) % 8 == 0


def test_a_batch_names_its_rows_and_documents(rows) -> None:
    batches = masked(rows)
    described = batches.describe(3)
    numbers = shuffled_rows(3, 8, len(rows), seed=3)
    assert [entry["row"] for entry in described] == list(numbers)
    held = rows.take(numbers).documents
    assert [entry["documents"] for entry in described] == [[int(d) for d in own if d >= 0] for own in held]


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "encoder_decoder"])
def test_a_synthetic_batch_has_the_shapes_of_a_real_one(rows, architecture) -> None:
    config, shape = Pretrain(), BatchShape(8, 4)
    real = corpus_batches(architecture, config, rows, shape, WORDS, seed=0).batch(0)
    made = synthetic_batch(architecture, config, shape, VOCABULARY, LENGTH)
    assert {name: (a.shape, a.dtype) for name, a in made.items()} == {n: (a.shape, a.dtype) for n, a in real.items()}
    ids = embedding_rows(architecture, config, VOCABULARY, LENGTH)
    assert max(array.max() for name, array in made.items() if "token" in name or name == "targets") < ids


def of_each_kind(rows: ShardedRows, shape: BatchShape) -> list:
    labels = np.arange(int(rows.take(np.arange(len(rows))).documents.max()) + 1) % 3
    return [
        MaskedBatches(rows, shape, WORDS, mask_fraction=0.2, seed=3),
        CausalBatches(rows, shape, WORDS, seed=3),
        SpanBatches(rows, shape, WORDS, seed=3, mask_fraction=0.25, span_length=2.0),
        LabelledBatches(rows, labels, rows.segments_per_row, shape, seed=3),
    ]


@pytest.mark.parametrize("kind", range(4), ids=["masked", "causal", "spans", "labelled"])
def test_what_several_processes_make_is_the_batch_that_one_makes(rows, kind) -> None:
    """With its masks and lost spans, and each reads its own rows only."""
    whole = of_each_kind(rows, BatchShape(8, 4))[kind]
    first, second = (of_each_kind(rows, BatchShape(8, 4, own))[kind] for own in (slice(0, 1), slice(1, 4)))
    taken: list[int] = []
    for batches in (first, second):
        object.__setattr__(batches, "rows", Listener(batches.rows, taken))
    for step in range(3):
        expected = whole.batch(step)
        parts = [first.batch(step), second.batch(step)]
        for name, array in expected.items():
            together = np.concatenate([part[name] for part in parts], axis=1)
            np.testing.assert_array_equal(together, array, err_msg=name)
        assert sorted(taken) == sorted(shuffled_rows(step, 8, len(rows), seed=3))
        taken.clear()
    for expected, *parts in zip(whole.in_order(), first.in_order(), second.in_order(), strict=True):
        for name, array in expected.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts], axis=1), array, err_msg=name)


class Listener:
    """Rows that remember which of them were read."""

    def __init__(self, rows: ShardedRows, taken: list[int]) -> None:
        self.rows = rows
        self.taken = taken

    def take(self, numbers: np.ndarray):
        self.taken += [int(number) for number in numbers]
        return self.rows.take(numbers)

    def __len__(self) -> int:
        return len(self.rows)
