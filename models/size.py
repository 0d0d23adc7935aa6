"""The size dial: one word derives every dimension of an encoder, and each can be overridden."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

# Depth and width grow together; heads are 32 to 64 wide; the gated feed-forward takes 8/3 of the width (Shazeer 2020,
# arXiv 2002.05202), which costs as much as a plain one of 4 times the width.
SIZES = {"tiny": (2, 128, 4), "mini": (3, 192, 6), "small": (6, 384, 6), "base": (12, 768, 12)}


@dataclass(frozen=True)
class EncoderDimensions:
    """Dimensions of an encoder; `learning_rate` is the peak for pretraining."""

    num_layers: int
    hidden_dim: int
    num_heads: int
    num_key_value_heads: int
    feedforward_dim: int
    learning_rate: float

    def parameters(self, vocabulary_size: int) -> int:
        """Return the number of trainable parameters of the backbone."""
        head_dim = self.hidden_dim // self.num_heads
        attention = self.hidden_dim * head_dim * (2 * self.num_heads + 2 * self.num_key_value_heads) + 2 * head_dim
        feedforward = 3 * self.hidden_dim * self.feedforward_dim
        norms = 2 * self.hidden_dim
        return self.num_layers * (attention + feedforward + norms) + self.hidden_dim * (vocabulary_size + 2)

    def explain(self, vocabulary_size: int) -> str:
        """Return the dimensions and the parameter count as one sentence."""
        figures = ", ".join(f"{name} {value:g}" for name, value in asdict(self).items())
        total = self.parameters(vocabulary_size)
        return f"{total:,} parameters, of them {self.hidden_dim * vocabulary_size:,} embeddings; {figures}"


def derive_dimensions(
    size: str,
    num_layers: int | None = None,
    hidden_dim: int | None = None,
    num_heads: int | None = None,
    num_key_value_heads: int | None = None,
    feedforward_dim: int | None = None,
) -> EncoderDimensions:
    """Return the dimensions of `size`, with each given one overriding the derived one.

    Raises:
        ValueError: `size` is unknown, or the widths do not divide into heads of an even width.
    """
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; it must be one of {', '.join(SIZES)}")
    layers, hidden, heads = SIZES[size]
    hidden = hidden_dim or hidden
    heads = num_heads or heads
    dimensions = EncoderDimensions(
        num_layers=num_layers or layers,
        hidden_dim=hidden,
        num_heads=heads,
        num_key_value_heads=num_key_value_heads or heads,
        feedforward_dim=feedforward_dim or round(hidden * 8 / 3 / 64) * 64 or 64,
        # The peak rate falls with the square root of the width, from 1e-3 at 512 (as in GPT-3's table, smoothed).
        learning_rate=round(1e-3 * (512 / hidden) ** 0.5, 5),
    )
    check_heads(dimensions)
    return dimensions


def check_heads(dimensions: EncoderDimensions) -> None:
    """Raise ValueError unless the width divides into heads, of even width for rotation, shared evenly."""
    hidden, heads, shared = dimensions.hidden_dim, dimensions.num_heads, dimensions.num_key_value_heads
    if hidden % heads or hidden // heads % 2:
        raise ValueError(
            f"hidden_dim {hidden} does not divide into {heads} heads of an even width; "
            f"make hidden_dim a multiple of {2 * heads}, or change num_heads"
        )
    if heads % shared:
        raise ValueError(f"num_heads {heads} is not a multiple of num_key_value_heads {shared}")


def with_learning_rate(dimensions: EncoderDimensions, learning_rate: float | None) -> EncoderDimensions:
    """Return the dimensions with the derived learning rate replaced when one is given."""
    return replace(dimensions, learning_rate=learning_rate) if learning_rate else dimensions
