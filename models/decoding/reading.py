"""A decoder that reads its rows token by token and computes nothing twice."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keras import ops

from models.attention import KeyValue, at_positions
from models.backbones import Backbone, EncoderDecoder
from models.packed import Tensor

Past = tuple[KeyValue, ...]


@dataclass(frozen=True)
class Reading:
    """What stays the same while rows are read: their prompts' lengths, and the source that they look at.

    The keys and values of a row's prompt lie in the first `width` slots, padded on the right; those of the new tokens
    follow, in the same slot in every row, so that one slice is written. Where a token stands is in its rotation, which
    is that of the row read alone.

    Attributes:
        backbone: Decoder or EncoderDecoder.
        lengths: (rows,) int32. Of the prompts.
        width: int. Of the longest prompt, padded.
        slots: int. Room for prompt and new tokens.
        source: of each block, keys and values of the encoded source; None: there is none.
        source_mask: (texts, 1, 1, source) bool.
    """

    backbone: Backbone | EncoderDecoder
    lengths: Tensor
    width: int
    slots: int
    source: Past | None = None
    source_mask: Tensor | None = None

    def next(self, past: Past, tokens: Tensor, step: Tensor) -> tuple[Tensor, Past]:
        """Return the logits, (rows, vocabulary), behind the new tokens, (rows,) int32, and the past with them in it.

        Args:
            past: as `begin` or this function returned it.
            tokens: (rows,) int32. One of each row.
            step: scalar int32. How many tokens were read behind the prompt before.
        """
        slots = ops.arange(self.slots, dtype="int32")[None, :]
        new = ops.logical_and(slots >= self.width, slots <= self.width + step)
        mask = ops.logical_or(slots < self.lengths[:, None], new)[:, None, None, :]  # (rows, 1, 1, slots)
        positions = self.lengths[:, None] + step  # (rows, 1)
        hidden, past = self._extend(tokens[:, None], mask, positions, past, self.width + step)
        return self.backbone.vocabulary_logits(hidden)[:, 0], past

    def repeated(self, times: int) -> Reading:
        """Return the reading of rows each of which stands there several times, one after the other."""
        return replace(self, lengths=ops.repeat(self.lengths, times, axis=0))

    def prompt(self, token_ids: Tensor) -> tuple[Tensor, Past]:
        """Return the logits behind the prompts, (rows, vocabulary), and the past that holds them."""
        rows = ops.shape(token_ids)[0]
        keys, queries = ops.arange(self.slots, dtype="int32"), ops.arange(self.width, dtype="int32")
        mask = ops.logical_and(  # (rows, 1, width, slots)
            keys[None, None, None, :] <= queries[None, None, :, None],
            keys[None, None, None, :] < self.lengths[:, None, None, None],
        )
        empty = self.backbone.stack.empty_past(rows, self.slots)
        start = ops.convert_to_tensor(0, "int32")
        hidden, past = self._extend(token_ids, mask, queries[None, :], empty, start)
        last = at_positions(hidden, self.lengths[:, None] - 1)  # (rows, 1, hidden)
        return self.backbone.vocabulary_logits(last)[:, 0], past

    def _extend(self, ids: Tensor, mask: Tensor, positions: Tensor, past: Past, slot: Tensor) -> tuple[Tensor, Past]:
        hidden = self.backbone.embed(ids, training=False)
        return self.backbone.stack.extend(hidden, mask, positions, past, slot, self.source, self.source_mask)


def begin(
    backbone: Backbone | EncoderDecoder, inputs: dict[str, Tensor], new_tokens: int
) -> tuple[Reading, Tensor, Past]:
    """Read sources and prompts; return the reading, the logits behind the prompts, (rows, vocabulary), and the past.

    Args:
        backbone: Decoder or EncoderDecoder.
        inputs: `token_ids` (rows, width) int32 and `lengths` (rows,) int32, from 1; for an encoder-decoder also
            `source_token_ids` and `source_segment_ids`, (rows, source) int32.
        new_tokens: int. How many tokens are read behind each prompt at most.
    """
    source = source_mask = None
    if isinstance(backbone, EncoderDecoder):
        segments = inputs["source_segment_ids"]
        encoded = {"token_ids": inputs["source_token_ids"], "segment_ids": segments}
        source = backbone.stack.source_keys(backbone.encoder(encoded, training=False))
        source_mask = (segments > 0)[:, None, None, :]
    width = inputs["token_ids"].shape[1]
    reading = Reading(backbone, inputs["lengths"], width, width + new_tokens, source, source_mask)
    return reading, *reading.prompt(inputs["token_ids"])
