import keras
import numpy as np
import pytest
from compiled import value_of

from models.attention import rotary_angles, visible
from models.block import Block, Stack

SEGMENTS = np.array([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 1, 1]], np.int32)
SOURCE_SEGMENTS = np.array([[1, 2, 2, 0], [1, 1, 0, 0]], np.int32)
ARGUMENTS = {"num_heads": 2, "num_key_value_heads": 1, "feedforward_dim": 12}


def states(seed: int, seq: int):
    return keras.ops.convert_to_tensor(np.random.default_rng(seed).normal(size=(2, seq, 8)).astype(np.float32))


@pytest.mark.parametrize("cross_attention", [False, True])
def test_a_block_adds_each_half_to_its_input(cross_attention) -> None:
    block = Block(**ARGUMENTS, cross_attention=cross_attention)
    block.build((None, None, 8))
    hidden, source = states(0, 6), states(1, 4)
    mask, source_mask = visible(SEGMENTS, SEGMENTS), visible(SEGMENTS, SOURCE_SEGMENTS)
    rotation = rotary_angles(6, 4, "float32")

    def halves():
        normed = block.attention_norm(hidden)
        changed = hidden + block.attention(normed, normed, mask, rotation, rotation)
        if cross_attention:
            changed = changed + block.cross(block.cross_norm(changed), source, source_mask)
        return changed + block.feedforward(block.feedforward_norm(changed))

    actual = value_of(lambda: block(hidden, mask, rotation, None, source, source_mask))
    np.testing.assert_allclose(actual, value_of(halves), rtol=0, atol=1e-6)


def test_dropout_acts_after_every_half_in_training_only() -> None:
    block = Block(**ARGUMENTS, cross_attention=True, dropout=0.5)
    block.build((None, None, 8))
    for name in ("attention_dropout", "cross_dropout", "feedforward_dropout"):
        layer = getattr(block, name)
        kept = keras.ops.convert_to_numpy(layer(np.ones((4, 8), np.float32), training=True))
        assert set(np.unique(kept)) == {0.0, 2.0}
    hidden, source = states(0, 6), states(1, 4)
    mask, source_mask = visible(SEGMENTS, SEGMENTS), visible(SEGMENTS, SOURCE_SEGMENTS)

    rotation = rotary_angles(6, 4, "float32")

    def run(training: bool) -> np.ndarray:
        return value_of(lambda: block(hidden, mask, rotation, None, source, source_mask, training=training))

    assert np.abs(run(True) - run(False)).max() > 0.1
    block.attention_dropout.rate = block.cross_dropout.rate = block.feedforward_dropout.rate = 0.0
    np.testing.assert_allclose(run(True), run(False), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cross_attention", [False, True])
def test_the_configs_rebuild_block_and_stack(cross_attention) -> None:
    block = ARGUMENTS | {"feedforward": "relu2", "query_key_norm": False, "cross_attention": cross_attention}
    for layer in (Block(**block, dropout=0.1), Stack(2, True, block)):
        twin = type(layer).from_config(layer.get_config())
        for each in (layer, twin):
            each.build((None, None, 8))
        assert twin.get_config() == layer.get_config()
        assert [(w.path, w.shape) for w in twin.weights] == [(w.path, w.shape) for w in layer.weights]
