from dataclasses import replace

import pytest

from models.encoder import PACKED_INPUT, Encoder
from models.size import SIZES, derive_dimensions, with_learning_rate


def make(dimensions, vocabulary_size):
    encoder = Encoder(
        vocabulary_size,
        dimensions.num_layers,
        dimensions.hidden_dim,
        dimensions.num_heads,
        dimensions.num_key_value_heads,
        dimensions.feedforward_dim,
    )
    encoder.build(PACKED_INPUT)
    return encoder


@pytest.mark.parametrize(
    "overrides",
    [
        {"num_layers": 3, "hidden_dim": 24, "num_heads": 6, "num_key_value_heads": 2, "feedforward_dim": 10},
        {"num_layers": 1, "hidden_dim": 16, "num_heads": 4},
    ],
)
def test_the_parameter_formula_counts_what_is_built(overrides) -> None:
    dimensions = derive_dimensions("tiny", **overrides)
    assert dimensions.parameters(50) == make(dimensions, 50).count_params()
    assert f"{dimensions.parameters(50):,} parameters" in dimensions.explain(50)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_derives_dimensions_that_fit(size) -> None:
    dimensions = derive_dimensions(size)
    assert dimensions.hidden_dim % dimensions.num_heads == 0
    assert dimensions.hidden_dim // dimensions.num_heads in range(32, 65, 2)
    assert dimensions.num_key_value_heads == dimensions.num_heads
    assert dimensions.feedforward_dim == pytest.approx(dimensions.hidden_dim * 8 / 3, abs=32)
    assert dimensions.learning_rate < 3e-3


def test_sizes_grow_and_their_learning_rates_fall() -> None:
    dial = [derive_dimensions(size) for size in ("tiny", "mini", "small", "base")]
    counts = [dimensions.parameters(8192) for dimensions in dial]
    assert counts == sorted(counts)
    assert counts[0] < 2e6 < 8e7 < counts[-1]
    rates = [dimensions.learning_rate for dimensions in dial]
    assert rates == sorted(rates, reverse=True)
    assert derive_dimensions("small", hidden_dim=512, num_heads=8).learning_rate == 1e-3


def test_an_override_changes_what_it_names_and_what_follows_from_it() -> None:
    base = derive_dimensions("mini")
    assert derive_dimensions("mini", num_layers=5) == replace(base, num_layers=5)
    assert derive_dimensions("mini", num_key_value_heads=2) == replace(base, num_key_value_heads=2)
    wider = derive_dimensions("mini", hidden_dim=384)
    assert (wider.feedforward_dim, wider.num_heads, wider.num_layers) == (1024, 6, 3)
    assert wider.learning_rate < base.learning_rate
    assert with_learning_rate(base, 0.5) == replace(base, learning_rate=0.5)
    assert with_learning_rate(base, None) == base


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("huge",), "size is 'huge'; it must be one of tiny, mini, small, base"),
        (("tiny", 1, 20, 3), "hidden_dim 20 does not divide into 3 heads.*multiple of 6"),
        (("tiny", 1, 12, 4), "hidden_dim 12 does not divide into 4 heads of an even width"),
        (("tiny", 1, 16, 4, 3), "num_heads 4 is not a multiple of num_key_value_heads 3"),
    ],
)
def test_dimensions_that_do_not_fit_are_told(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        derive_dimensions(*arguments)
