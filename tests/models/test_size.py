from dataclasses import replace

import pytest

from models.size import SIZES, derive_dimensions


@pytest.mark.parametrize("feedforward", ["geglu", "relu2"])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_derives_dimensions_that_fit(size, feedforward) -> None:
    dimensions = derive_dimensions(size, feedforward=feedforward)
    assert dimensions.hidden_dim % dimensions.num_heads == 0
    assert dimensions.head_dim in range(32, 65, 2)
    assert dimensions.num_key_value_heads == dimensions.num_heads
    factor = {"geglu": 8 / 3, "relu2": 4}[feedforward]
    assert dimensions.feedforward_dim == pytest.approx(dimensions.hidden_dim * factor, abs=32)
    assert dimensions.learning_rate < 3e-3


def test_learning_rates_fall_as_sizes_grow() -> None:
    dial = [derive_dimensions(size) for size in ("tiny", "mini", "small", "base")]
    assert [dimensions.hidden_dim for dimensions in dial] == [128, 192, 384, 768]
    rates = [dimensions.learning_rate for dimensions in dial]
    assert rates == sorted(rates, reverse=True)
    assert derive_dimensions("small", hidden_dim=512, num_heads=8).learning_rate == 1e-3


def test_an_override_changes_what_it_names_and_what_follows_from_it() -> None:
    base = derive_dimensions("mini")
    assert derive_dimensions("mini", num_layers=5) == replace(base, num_layers=5)
    assert derive_dimensions("mini", num_key_value_heads=2) == replace(base, num_key_value_heads=2)
    assert derive_dimensions("mini", architecture="decoder") == replace(base, architecture="decoder")
    wider = derive_dimensions("mini", hidden_dim=384)
    assert (wider.feedforward_dim, wider.num_heads, wider.num_layers) == (1024, 6, 3)
    assert wider.learning_rate < base.learning_rate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, "size is 'huge'; it must be one of tiny, mini, small, base"),
        ({"architecture": "bert"}, "architecture is 'bert'; it must be one of encoder, decoder, encoder_decoder"),
        ({"feedforward": "swiglu"}, "feedforward is 'swiglu'; it must be one of geglu, relu2"),
        ({"hidden_dim": 20, "num_heads": 3}, "hidden_dim 20 does not divide into 3 heads.*multiple of 6"),
        ({"hidden_dim": 12, "num_heads": 4}, "hidden_dim 12 does not divide into 4 heads of an even width"),
        ({"num_heads": 4, "num_key_value_heads": 3}, "num_heads 4 is not a multiple of num_key_value_heads 3"),
    ],
)
def test_dimensions_that_do_not_fit_are_told(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        derive_dimensions(**{"size": "tiny"} | arguments)
