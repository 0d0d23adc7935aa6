import keras
import numpy as np
import pytest

from models.attention import Attention, at_positions, rotary_angles, rotation_at, visible

BATCH, SEQ, SOURCE, HIDDEN = 2, 10, 6, 16
SEGMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 3, 0, 0], [1] * 10], np.int32)
SOURCE_SEGMENTS = np.array([[1, 1, 2, 3, 3, 0], [1, 1, 1, 1, 0, 0]], np.int32)
POSITIONS = np.array([[0, 7, 4], [9, 3, 3]], np.int32)


def reference_attention(layer: Attention, hidden, source, mask, positions=None, source_positions=None) -> np.ndarray:
    """softmax(Q K^T / sqrt(d)) V head by head, in float64, from the papers' formulas."""
    d, heads, shared = layer.head_dim, layer.num_heads, layer.num_key_value_heads
    query_kernel, key_kernel, value_kernel, output = (
        weights_of(part) for part in (layer.query, layer.key, layer.value, layer.output_projection)
    )
    queries = hidden.astype(np.float64) @ query_kernel
    keys, values = (source.astype(np.float64) @ kernel for kernel in (key_kernel, value_kernel))
    mixed = []
    for head in range(heads):
        group = head // (heads // shared)
        query, key = queries[..., head * d : (head + 1) * d], keys[..., group * d : (group + 1) * d]
        if layer.query_key_norm:
            query, key = rms_norm(query, weights_of(layer.query_norm)), rms_norm(key, weights_of(layer.key_norm))
        if positions is not None:
            query, key = turn(query, positions), turn(key, source_positions)
        scores = np.where(mask, query @ key.transpose(0, 2, 1) / np.sqrt(d), -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed.append(weights @ values[..., group * d : (group + 1) * d])
    return np.concatenate(mixed, axis=-1) @ output


def weights_of(layer) -> np.ndarray:
    return layer.get_weights()[0].astype(np.float64)


def rms_norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * scale


def turn(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rotary positions, (batch or 1, seq), as a multiplication of complex numbers, (batch, seq, head_dim)."""
    half = x.shape[-1] // 2
    angles = positions[..., None] / 10_000 ** (np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def make_attention(heads: int = 4, shared: int = 2, query_key_norm: bool = True) -> Attention:
    layer = Attention(heads, shared, query_key_norm)
    layer.build((None, None, HIDDEN))
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
    return layer


def random_states(seed: int, seq: int = SEQ) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(BATCH, seq, HIDDEN)).astype(np.float32)


def assert_close(actual, expected) -> None:
    np.testing.assert_allclose(keras.ops.convert_to_numpy(actual), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True], ids=["padding and segments", "look-ahead"])
@pytest.mark.parametrize(("heads", "shared"), [(4, 1), (4, 2), (2, 2)])
@pytest.mark.parametrize("query_key_norm", [True, False], ids=["normed", "plain"])
def test_self_attention_is_the_formula(heads, shared, query_key_norm, causal) -> None:
    layer, hidden = make_attention(heads, shared, query_key_norm), random_states(0)
    mask = SEGMENTS[:, :, None] == SEGMENTS[:, None, :]
    if causal:
        mask &= np.tri(SEQ, dtype=bool)
    everywhere = np.arange(SEQ, dtype=np.int32)[None, :]
    rotation = rotary_angles(SEQ, HIDDEN // heads, "float32")
    actual = layer(hidden, hidden, visible(SEGMENTS, SEGMENTS, everywhere if causal else None), rotation, rotation)
    assert_close(actual, reference_attention(layer, hidden, hidden, mask, everywhere, everywhere))


@pytest.mark.parametrize("query_key_norm", [True, False], ids=["normed", "plain"])
def test_cross_attention_is_the_formula_without_positions(query_key_norm) -> None:
    layer = make_attention(query_key_norm=query_key_norm)
    hidden, source = random_states(1), random_states(2, SOURCE)
    mask = SEGMENTS[:, :, None] == SOURCE_SEGMENTS[:, None, :]
    actual = layer(hidden, source, visible(SEGMENTS, SOURCE_SEGMENTS))
    assert_close(actual, reference_attention(layer, hidden, source, mask))


@pytest.mark.parametrize("causal", [False, True], ids=["padding and segments", "look-ahead"])
def test_a_few_queries_stand_where_their_positions_say(causal) -> None:
    layer, hidden = make_attention(), random_states(3)
    few = np.take_along_axis(hidden, POSITIONS[:, :, None], axis=1)
    asking = np.take_along_axis(SEGMENTS, POSITIONS, axis=1)
    mask = asking[:, :, None] == SEGMENTS[:, None, :]
    if causal:
        mask &= np.arange(SEQ) <= POSITIONS[:, :, None]
    rotation = rotary_angles(SEQ, layer.head_dim, "float32")
    positions = keras.ops.convert_to_tensor(POSITIONS)
    actual = layer(
        at_positions(keras.ops.convert_to_tensor(hidden), positions),
        hidden,
        visible(asking, SEGMENTS, POSITIONS if causal else None),
        rotation_at(rotation, positions),
        rotation,
    )
    assert_close(actual, reference_attention(layer, few, hidden, mask, POSITIONS, np.arange(SEQ)[None, :]))


def test_a_query_that_sees_nothing_does_no_harm() -> None:
    """A decoder's padding looks at an encoder's full row."""
    layer, hidden = make_attention(), random_states(4)
    mask = np.ones((BATCH, 1, SEQ, SEQ), bool)
    mask[0, :, 3] = False
    expected = layer(hidden, hidden, np.ones_like(mask))
    actual = keras.ops.convert_to_numpy(layer(hidden, hidden, mask))
    value = (hidden[0] @ weights_of(layer.value)).mean(axis=0)
    shared = value.reshape(layer.num_key_value_heads, layer.head_dim)
    blind = np.repeat(shared, 2, axis=0).reshape(-1) @ weights_of(layer.output_projection)
    assert_close(actual[0, 3], blind)
    seeing = np.arange(SEQ) != 3
    assert_close(actual[0][seeing], keras.ops.convert_to_numpy(expected)[0][seeing])


def test_the_config_rebuilds_the_layer() -> None:
    layer = Attention(4, 2, query_key_norm=False, dtype="mixed_bfloat16", name="mine")
    twin = Attention.from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    assert (twin.num_key_value_heads, twin.query_key_norm) == (2, False)
