"""Which dimension of each weight lies across which axis of a mesh of devices.

- `data`: every device holds the whole weight; rows of the batch are split.
- `fsdp`: each device holds a part of the weight and of its optimizer slots (Rajbhandari 2019, arXiv 1910.02054), and
  rows of the batch are split over it too.
- `model`: tensor parallelism (Shoeybi 2019, arXiv 1909.08053): attention by heads, the feed-forward by its inner width,
  the vocabulary by tokens, so that a block exchanges activations twice on the way there and twice on the way back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

DATA, FSDP, MODEL = AXES = ("data", "fsdp", "model")

# End of a weight's path -> the axis of each of its dimensions; a weight that is not here is whole on every device.
LAYOUT = {
    r"embedding/embeddings": (MODEL, FSDP),  # (vocabulary, hidden)
    r"embedding/reverse_embeddings": (FSDP, MODEL),  # (hidden, vocabulary)
    r"(query|key|value)/kernel": (FSDP, MODEL),  # (hidden, heads * head_dim)
    r"(gate|input)/kernel": (FSDP, MODEL),  # (hidden, feedforward)
    r"output/kernel": (MODEL, FSDP),  # (heads * head_dim or feedforward, hidden)
    r"transform/kernel": (FSDP, None),  # (hidden, hidden)
    r"(group_)?logits/kernel": (FSDP, None),  # (hidden, classes or groups)
}


def layout_of(path: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> tuple[str | None, ...]:
    """Return the axis, or None, of each dimension of a weight; an axis that does not divide its dimension is left out.

    Args:
        path: str. The Keras path of the variable.
        shape: tuple of int. Its shape.
        sizes: mapping of str to int. Devices along each axis.
    """
    axes = next((axes for end, axes in LAYOUT.items() if re.search(rf"(^|/){end}$", path)), ())
    whole = (None,) * len(shape)
    if len(axes) != len(shape):
        return whole
    return tuple(
        axis if axis and sizes[axis] > 1 and length % sizes[axis] == 0 else None
        for axis, length in zip(axes, shape, strict=True)
    )
