"""The size dial: one word derives every dimension of a model, and each can be overridden."""

from __future__ import annotations

from dataclasses import dataclass

# Depth and width grow together; heads are 32 to 64 wide.
SIZES = {"tiny": (2, 128, 4), "mini": (3, 192, 6), "small": (6, 384, 6), "base": (12, 768, 12)}
ARCHITECTURES = ("encoder", "decoder", "encoder_decoder")
# A gated feed-forward has three kernels to the plain one's two, so 8/3 of the width cost as much as 4 times the width
# (Shazeer 2020, arXiv 2002.05202).
FEEDFORWARD_WIDTHS = {"geglu": 8 / 3, "relu2": 4.0}


@dataclass(frozen=True)
class Dimensions:
    """Dimensions of a model.

    Attributes:
        num_layers: int. Blocks; of an encoder-decoder, on either side.
        hidden_dim: int. Width.
        num_heads: int. Query heads.
        num_key_value_heads: int. Key and value heads; divides `num_heads`.
        feedforward_dim: int. Inner width of the feed-forward.
        learning_rate: float. The peak for pretraining.
        architecture: str. encoder, decoder or encoder_decoder.
        feedforward: str. geglu or relu2.
        query_key_norm: bool. RMS norm on queries and keys.
        tie_embeddings: bool. The output projection is the embedding.
    """

    num_layers: int
    hidden_dim: int
    num_heads: int
    num_key_value_heads: int
    feedforward_dim: int
    learning_rate: float
    architecture: str = "encoder"
    feedforward: str = "geglu"
    query_key_norm: bool = True
    tie_embeddings: bool = True

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_dim // self.num_heads


def derive_dimensions(
    size: str,
    num_layers: int | None = None,
    hidden_dim: int | None = None,
    num_heads: int | None = None,
    num_key_value_heads: int | None = None,
    feedforward_dim: int | None = None,
    architecture: str = "encoder",
    feedforward: str = "geglu",
    query_key_norm: bool = True,
    tie_embeddings: bool = True,
) -> Dimensions:
    """Return the dimensions of `size`, with each given one overriding the derived one.

    Args:
        size: str. tiny, mini, small or base.
        num_layers: int. Instead of the size's.
        hidden_dim: int. Instead of the size's; what follows from the width follows from this one.
        num_heads: int. Instead of the size's.
        num_key_value_heads: int. Default: as many as query heads.
        feedforward_dim: int. Default: 8/3 of the width, gated, or 4 times, plain; to a multiple of 64.
        architecture: str. encoder, decoder or encoder_decoder.
        feedforward: str. geglu or relu2.
        query_key_norm: bool. RMS norm on queries and keys.
        tie_embeddings: bool. The output projection is the embedding.

    Raises:
        ValueError: a name is unknown, or the widths do not divide into heads of an even width.
    """
    for name, value, known in (
        ("size", size, SIZES),
        ("architecture", architecture, ARCHITECTURES),
        ("feedforward", feedforward, FEEDFORWARD_WIDTHS),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}")
    layers, hidden, heads = SIZES[size]
    hidden = hidden_dim or hidden
    heads = num_heads or heads
    dimensions = Dimensions(
        num_layers=num_layers or layers,
        hidden_dim=hidden,
        num_heads=heads,
        num_key_value_heads=num_key_value_heads or heads,
        feedforward_dim=feedforward_dim or round(hidden * FEEDFORWARD_WIDTHS[feedforward] / 64) * 64 or 64,
        learning_rate=derive_learning_rate(hidden),
        architecture=architecture,
        feedforward=feedforward,
        query_key_norm=query_key_norm,
        tie_embeddings=tie_embeddings,
    )
    check_heads(dimensions)
    return dimensions


def derive_learning_rate(hidden_dim: int) -> float:
    """Return the peak rate: it falls with the square root of the width, from 1e-3 at 512 (GPT-3's table, smoothed)."""
    return round(float(1e-3 * (512 / hidden_dim) ** 0.5), 5)


def check_heads(dimensions: Dimensions) -> None:
    """Raise ValueError unless the width divides into heads, of even width for rotation, shared evenly."""
    hidden, heads, shared = dimensions.hidden_dim, dimensions.num_heads, dimensions.num_key_value_heads
    if hidden % heads or hidden // heads % 2:
        raise ValueError(
            f"hidden_dim {hidden} does not divide into {heads} heads of an even width; "
            f"make hidden_dim a multiple of {2 * heads}, or change num_heads"
        )
    if heads % shared:
        raise ValueError(f"num_heads {heads} is not a multiple of num_key_value_heads {shared}")
