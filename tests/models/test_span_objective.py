"""The loss of a span model: begin and end, each within the candidates of its own segment."""

import keras
import numpy as np
import pytest
from tiny_models import LENGTH, packed_rows

from models.objectives import segment_spans

SEGMENTS = 4


def batch(seed=0):
    """Packed rows whose last token of each segment is no candidate, with a random span in each segment."""
    rows = packed_rows(seed)
    random = np.random.default_rng(seed)
    segments = rows["segment_ids"]
    follower = np.pad(segments[:, 1:], ((0, 0), (0, 1)))
    rows["candidates"] = ((segments > 0) & (follower == segments)).astype(np.int32)
    rows["targets"] = np.zeros((len(segments), SEGMENTS, 2), np.int32)
    rows["weights"] = np.zeros((len(segments), SEGMENTS), np.float32)
    for row, segment in np.ndindex(len(segments), SEGMENTS):
        mine = np.flatnonzero((segments[row] == segment + 1) & (rows["candidates"][row] > 0))
        if len(mine):
            rows["targets"][row, segment] = np.sort(random.choice(mine, 2))
            rows["weights"][row, segment] = random.integers(2)
    del rows["positions"]
    return rows


def softmax(values):
    exponentials = np.exp(values - values.max())
    return exponentials / exponentials.sum()


class Fixed:
    """Says what it is given."""

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, inputs, training=None):
        return keras.ops.convert_to_tensor(self.logits)


def test_the_loss_is_the_mean_cross_entropy_of_begin_and_end_among_candidates() -> None:
    rows = batch()
    logits = np.random.default_rng(1).normal(size=(*rows["token_ids"].shape, 2)).astype(np.float32)
    expected = 0.0
    for row, segment in zip(*np.nonzero(rows["weights"]), strict=True):
        mine = np.flatnonzero((rows["segment_ids"][row] == segment + 1) & (rows["candidates"][row] > 0))
        for side in (0, 1):
            place = list(mine).index(rows["targets"][row, segment, side])
            expected -= np.log(softmax(logits[row, mine, side].astype(np.float64))[place]) / 2
    sums = segment_spans(Fixed(logits), rows, training=False)
    assert float(sums.loss) == pytest.approx(expected, rel=1e-4)
    assert float(sums.weight) == rows["weights"].sum() > 3
    assert float(segment_spans(Fixed(logits), rows, training=True).loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("first", "last", "target", "f1"),
    [
        (3, 5, (3, 5), 1.0),
        (3, 4, (4, 7), 2 / 6),
        (6, 7, (3, 5), 0.0),
        (0, 6, (0, 0), 1.0),  # no answer, whatever its end
        (0, 6, (3, 5), 0.0),
        (3, 5, (0, 0), 0.0),
    ],
)
def test_counts_give_the_f1_of_the_answers_tokens(first, last, target, f1) -> None:
    logits = np.zeros((1, LENGTH, 2), np.float32)
    logits[0, first, 0] = logits[0, last, 1] = 5.0
    logits[0, 9, :] = 9.0  # of the question
    logits[0, 1, 1] = 7.0 if first > 1 else 0.0  # before the answer begins
    rows = {
        "segment_ids": np.ones((1, LENGTH), np.int32),
        "candidates": (np.arange(LENGTH) < 8).astype(np.int32)[None],
        "targets": np.array([[target]], np.int32),
        "weights": np.ones((1, 1), np.float32),
    }
    sums = segment_spans(Fixed(logits), rows, training=False)
    assert np.asarray(sums.counts).tolist() == pytest.approx([f1, 1.0])
