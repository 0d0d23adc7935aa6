"""What every model here takes: packed rows, several documents in each.

A row is a pair of `token_ids` and `segment_ids`, both (batch, seq) int32: segment 0 is padding, and the tokens of one
document share a positive number. A row that holds one document is the case of one segment, so training on packed rows
and answering single texts is the same code.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any

PACKED_INPUT = {"token_ids": (None, None), "segment_ids": (None, None)}
PAIRED_INPUT = PACKED_INPUT | {"decoder_token_ids": (None, None), "decoder_segment_ids": (None, None)}


class PackedModel(keras.Model):
    """A model over packed rows: it can be built, and rebuilt from a file, without seeing an example.

    One whose `packs` is false takes rows of one document only.
    """

    input_shapes = PACKED_INPUT
    packs = True

    def get_build_config(self) -> dict[str, Any]:
        """Return the input's shape; were it empty, Keras would leave the reloaded model without weights."""
        return {"input_shape": self.input_shapes}

    def build_from_config(self, _config: dict[str, Any]) -> None:
        """Create every weight, so that a file's values find their place."""
        self.build(self.input_shapes)


def pool_segments(hidden: Tensor, segment_ids: Tensor, segments: int, last: bool = False) -> Tensor:
    """Return the mean state of each segment, (batch, segments, hidden), from (batch, seq, hidden); 0 of an absent one.

    Args:
        hidden: Tensor. The states.
        segment_ids: Tensor. (batch, seq) int32.
        segments: int. The segments from 1 to this one.
        last: bool. Take the state of a segment's last token instead, which alone has seen all of it in a decoder.
    """
    numbers = ops.arange(1, segments + 1, dtype="int32")[None, :, None]  # (1, segments, 1)
    member = ops.cast(ops.equal(segment_ids[:, None, :], numbers), hidden.dtype)  # (batch, segments, seq)
    if last:
        follower = ops.pad(member[:, :, 1:], [[0, 0], [0, 0], [0, 1]])
        member = member * (1 - follower)
    size = ops.maximum(ops.sum(member, axis=-1, keepdims=True), 1)
    return ops.matmul(member, hidden) / size
