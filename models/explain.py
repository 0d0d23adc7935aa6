"""The size dial's arithmetic in words, printed before a training starts."""

from __future__ import annotations

from models.cost import NO_GROUPS, GroupHead, flops_per_token, key_value_dim, parameters
from models.parallel import DeviceMemory
from models.size import Dimensions


def explain(
    dimensions: Dimensions,
    vocabulary_size: int,
    sequence_length: int | None = None,
    predictions_per_token: float = 1.0,
    memory: DeviceMemory | None = None,
    groups: GroupHead = NO_GROUPS,
) -> list[str]:
    """Return lines that say what the model is, where its parameters lie, and what training it costs.

    Args:
        dimensions: Dimensions. Of the model.
        vocabulary_size: int. Tokens.
        sequence_length: int. Tokens in a row; None leaves the operations out.
        predictions_per_token: float. As in `flops_per_token`.
        memory: DeviceMemory. Of each device; None leaves it out.
        groups: GroupHead. What else an encoder tells.
    """
    lines = [_shape(dimensions), _parameters(dimensions, vocabulary_size, groups)]
    if sequence_length:
        flops = flops_per_token(dimensions, vocabulary_size, sequence_length, predictions_per_token, groups)
        lines.append(
            f"{flops / 1e6:,.1f} million operations per token of training at sequence_length {sequence_length}, "
            f"{predictions_per_token:.3g} predictions per token"
        )
    if memory:
        figures = ", ".join(f"{part} {size / 1e6:,.1f}" for part, size in memory.parts().items())
        lines.append(f"memory about {memory.total / 1e6:,.1f} MB: {figures}")
    return lines


def _shape(dimensions: Dimensions) -> str:
    heads = f"{dimensions.num_heads} heads of {dimensions.head_dim}"
    if dimensions.num_key_value_heads != dimensions.num_heads:
        heads += f" on {dimensions.num_key_value_heads} key-value heads"
    sides = " on either side" if dimensions.architecture == "encoder_decoder" else ""
    return (
        f"{dimensions.architecture}: {dimensions.num_layers} layers{sides}, hidden_dim {dimensions.hidden_dim}, "
        f"{heads}, {dimensions.feedforward} of {dimensions.feedforward_dim}"
    )


def _parameters(dimensions: Dimensions, vocabulary_size: int, groups: GroupHead) -> str:
    counted = parameters(dimensions, vocabulary_size, groups)
    hidden, copies = dimensions.hidden_dim, "" if dimensions.tie_embeddings else "2 x "
    kernels = f"{hidden} x (2 x {hidden} + 2 x {key_value_dim(dimensions)})"
    parts = [
        f"embedding {counted.embedding:,} ({copies}{vocabulary_size} x {hidden})",
        f"attention {counted.attention:,} ({kernels} each)",
        f"feed-forward {counted.feedforward:,}",
        f"norms {counted.norms:,}",
    ]
    if counted.head:
        parts.append(f"head {counted.head:,}")
    return f"{counted.total:,} parameters: {', '.join(parts)}"
