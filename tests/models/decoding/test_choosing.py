import keras
import numpy as np
import pytest

from models.decoding.choosing import log_probabilities, pick, without_repeats
from models.decoding.decoding import Decoding, Ids

SHARES = np.array([0.0, 0.25, 0.1, 0.0, 0.4, 0.2, 0.05])
ROWS = 2000


def frequencies(**decoding) -> np.ndarray:
    """Return how often each token is drawn by numbers that lie evenly in [0, 1)."""
    with np.errstate(divide="ignore"):
        log_p = np.tile(np.log(SHARES).astype(np.float32), (ROWS, 1))
    draws = ((np.arange(ROWS) + 0.5) / ROWS).astype(np.float32)
    chosen = pick(keras.ops.convert_to_tensor(log_p), Decoding(4, **decoding), keras.ops.convert_to_tensor(draws))
    return np.bincount(keras.ops.convert_to_numpy(chosen), minlength=len(SHARES)) / ROWS


def normed(shares) -> np.ndarray:
    return np.array(shares) / np.sum(shares)


@pytest.mark.parametrize(
    ("decoding", "expected"),
    [
        ({"temperature": 1.0}, SHARES),
        ({"temperature": 0.5}, normed(SHARES**2)),
        ({"temperature": 1.0, "top_k": 2}, normed([0, 0.25, 0, 0, 0.4, 0, 0])),
        ({"temperature": 1.0, "top_k": 50}, SHARES),
        ({"temperature": 1.0, "top_p": 0.66}, normed([0, 0.25, 0, 0, 0.4, 0.2, 0])),
        ({"temperature": 1.0, "top_p": 0.64}, normed([0, 0.25, 0, 0, 0.4, 0, 0])),
        ({"temperature": 1.0, "top_p": 1e-6}, [0, 0, 0, 0, 1, 0, 0]),
        # After top_k the two have 8/13 and 5/13.
        ({"temperature": 1.0, "top_k": 2, "top_p": 0.6}, [0, 0, 0, 0, 1, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(decoding, expected) -> None:
    np.testing.assert_allclose(frequencies(**decoding), expected, rtol=0, atol=2 / ROWS)


def test_only_ids_that_may_be_written_have_a_probability() -> None:
    logits = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32) * 5)
    found = keras.ops.convert_to_numpy(
        log_probabilities(logits, Ids(start=1, end=2, pad=0, limit=6, vocabulary_size=8))
    )
    assert np.array_equal(np.isfinite(found), np.tile([False, False, True, True, True, True, False, False], (2, 1)))
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-6)
    shared = Ids(start=1, end=1, pad=1, limit=6, vocabulary_size=8)
    assert shared.writable().tolist() == [True] * 6 + [False] * 2


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("step", [0, 1, 4, 7])
def test_a_token_that_would_repeat_a_sequence_is_banned(size, step) -> None:
    tokens = np.random.default_rng(size).integers(0, 3, (5, 8)).astype(np.int32)
    expected = np.zeros((5, 4), bool)
    for row, text in zip(expected, tokens[:, :step].tolist(), strict=True):
        for token in range(4):
            candidate = [*text, token]
            sequences = [candidate[n : n + size] for n in range(len(candidate) - size + 1)]
            row[token] = len(candidate) >= size and sequences[-1] in sequences[:-1]
    found = without_repeats(
        keras.ops.zeros((5, 4)), keras.ops.convert_to_tensor(tokens), keras.ops.convert_to_tensor(step, "int32"), size
    )
    assert np.array_equal(np.isneginf(keras.ops.convert_to_numpy(found)), expected)
