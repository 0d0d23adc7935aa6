import keras
import numpy as np
import pytest

from models.feedforward import FeedForward

HIDDEN, INNER = 16, 12


def geglu(inner: np.ndarray, gate: np.ndarray) -> np.ndarray:
    return 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3))) * inner


def relu2(inner: np.ndarray) -> np.ndarray:
    return np.maximum(inner, 0) ** 2


@pytest.mark.parametrize("formula", [geglu, relu2])
def test_feed_forward_is_the_formula(formula) -> None:
    layer = FeedForward(INNER, formula.__name__)
    layer.build((None, None, HIDDEN))
    hidden = np.random.default_rng(1).normal(size=(2, 10, HIDDEN)).astype(np.float32)
    projections = [layer.input_projection, *([layer.gate] if formula is geglu else [])]
    kernels = [part.get_weights()[0].astype(np.float64) for part in projections]
    assert {kernel.shape for kernel in kernels} == {(HIDDEN, INNER)}
    outward = layer.output_projection.get_weights()[0].astype(np.float64)
    expected = formula(*(hidden.astype(np.float64) @ kernel for kernel in kernels)) @ outward
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(hidden)), expected, rtol=0, atol=5e-6)


def test_the_config_rebuilds_the_layer() -> None:
    layer = FeedForward(INNER, "relu2")
    assert FeedForward.from_config(layer.get_config()).kind == "relu2"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'swiglu'; it must be geglu or relu2"):
        FeedForward(INNER, "swiglu")
