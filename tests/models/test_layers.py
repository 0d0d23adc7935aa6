import keras
import numpy as np
import pytest
from tiny_models import answers, make_encoder, randomise

from models.attention import SegmentAttention, rotary_angles
from models.feedforward import GatedFeedForward

BATCH, SEQ, HIDDEN = 2, 10, 16
SEGMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 3, 0, 0], [1] * 10])


def reference_attention(layer: SegmentAttention, hidden: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """softmax(Q K^T / sqrt(d)) V head by head, in float64, from the papers' formulas."""
    fused, output, query_scale, key_scale = (w.astype(np.float64) for w in layer.get_weights())
    d, heads, shared = layer.head_dim, layer.num_heads, layer.num_key_value_heads
    projected = hidden.astype(np.float64) @ fused
    queries, keys, values = np.split(projected, [heads * d, (heads + shared) * d], axis=-1)
    mixed = []
    for head in range(heads):
        group = head // (heads // shared)
        query = turn(rms_norm(queries[..., head * d : (head + 1) * d], query_scale))
        key = turn(rms_norm(keys[..., group * d : (group + 1) * d], key_scale))
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(d)
        scores = np.where(segments[:, :, None] == segments[:, None, :], scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed.append(weights @ values[..., group * d : (group + 1) * d])
    return np.concatenate(mixed, axis=-1) @ output


def rms_norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * scale


def turn(x: np.ndarray) -> np.ndarray:
    """Rotary positions as a multiplication of complex numbers, (batch, seq, head_dim)."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] / 10_000 ** (np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], axis=-1)


@pytest.mark.parametrize(("heads", "shared"), [(4, 2), (2, 2)])
def test_attention_is_the_formula(heads, shared) -> None:
    random = np.random.default_rng(0)
    layer = SegmentAttention(heads, shared)
    layer.build((None, None, HIDDEN))
    layer.set_weights([random.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
    hidden = random.normal(size=(BATCH, SEQ, HIDDEN)).astype(np.float32)
    mask = (SEGMENTS[:, None, :, None] == SEGMENTS[:, None, None, :]).astype(bool)
    actual = layer(hidden, mask, rotary_angles(SEQ, HIDDEN // heads, "float32"))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(actual), reference_attention(layer, hidden, SEGMENTS), rtol=0, atol=5e-6
    )


def test_feed_forward_is_gated_by_tanh_gelu() -> None:
    random = np.random.default_rng(1)
    layer = GatedFeedForward(12)
    layer.build((None, None, HIDDEN))
    hidden = random.normal(size=(BATCH, SEQ, HIDDEN)).astype(np.float32)
    fused, output = (w.astype(np.float64) for w in layer.get_weights())
    gate, value = np.split(hidden.astype(np.float64) @ fused, 2, axis=-1)
    gelu = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(hidden)), (gelu * value) @ output, rtol=0, atol=5e-6)


def hidden_states(encoder, tokens, segments) -> np.ndarray:
    inputs = {"token_ids": np.array(tokens, np.int32), "segment_ids": np.array(segments, np.int32)}
    return answers(encoder, inputs)


@pytest.fixture(scope="module")
def encoder():
    return randomise(make_encoder(num_layers=2), seed=2)


def test_a_document_is_the_same_alone_and_anywhere_among_others(encoder) -> None:
    document, (one, two) = [5, 9, 4, 31], ([7, 8], [3, 12, 6])
    tokens = [
        [*document, *[0] * 8],
        [*document, *one, *two, *[0] * 3],
        [*one, *document, *two, *[0] * 3],
        [*two, *one, *document, *[0] * 3],
        [*[0] * 8, *document],
    ]
    segments = [
        [1] * 4 + [0] * 8,
        [1] * 4 + [2] * 2 + [3] * 3 + [0] * 3,
        [1] * 2 + [2] * 4 + [3] * 3 + [0] * 3,
        [4] * 3 + [9] * 2 + [2] * 4 + [0] * 3,
        [0] * 8 + [1] * 4,
    ]
    states = hidden_states(encoder, tokens, segments)
    alone = states[0, :4]
    for row, start in ((1, 0), (2, 2), (3, 5), (4, 8)):
        np.testing.assert_allclose(states[row, start : start + 4], alone, rtol=0, atol=1e-5)
    without_padding = hidden_states(encoder, [document], [[1] * 4])[0]  # another shape of input, too
    np.testing.assert_allclose(without_padding, alone, rtol=0, atol=1e-5)
    assert np.abs(alone).mean() > 0.01


def test_neither_neighbours_nor_padding_are_seen(encoder) -> None:
    tokens = [[5, 6, 7, 8, 9, 10, 11, 3, 3, 0, 0, 0]] * 5
    tokens[1] = [30, 31, 32, *tokens[0][3:]]
    tokens[2] = [*tokens[0][:9], 33, 34, 35]
    states = hidden_states(encoder, tokens, [[1, 1, 1, 2, 2, 2, 2, 3, 3, 0, 0, 0]] * 5)
    np.testing.assert_allclose(states[1, 3:9], states[0, 3:9], rtol=0, atol=1e-6)
    np.testing.assert_allclose(states[2, :9], states[0, :9], rtol=0, atol=1e-6)
    assert np.abs(states[1, :3] - states[0, :3]).max() > 0.01


def test_within_a_document_order_and_distant_tokens_matter(encoder) -> None:
    tokens = [[5, 6, 7, 8, *[0] * 8]] * 5
    tokens[1], tokens[2] = [6, 5, 7, 8, *[0] * 8], [20, 6, 7, 8, *[0] * 8]
    states = hidden_states(encoder, tokens, [[1] * 4 + [0] * 8] * 5)
    assert np.abs(states[1, 3] - states[0, 3]).max() > 1e-3
    assert np.abs(states[2, 3] - states[0, 3]).max() > 1e-3
