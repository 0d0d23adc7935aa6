"""Texts to be written: what fine-tuning for `generation` learns from, packed sequences of a source and its target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.data.tokens.packing import PackedRows
from pipeline.data.tokens.sequences import answers_in
from pipeline.training.batches.order import Batch, CorpusBatches, RowRandom

STRIDE = 8  # widths are multiples of it


@dataclass(frozen=True)
class CompletionBatches(CorpusBatches):
    """What a decoder learns from: whole sequences, of which it is asked for the target and its end."""

    def make(self, rows: PackedRows, _random: RowRandom) -> Batch:
        """Return token_ids, segment_ids, targets and weights, (rows, seq) each."""
        tokens, segments = rows.token_ids.astype(np.int32), rows.segment_ids.astype(np.int32)
        asked = answers_in(tokens, segments, self.vocabulary.separator)
        # A sequence begins with its source, so what follows an asked token and is asked for is of the same sequence.
        return {
            "token_ids": tokens,
            "segment_ids": segments,
            "targets": np.pad(tokens[:, 1:], ((0, 0), (0, 1)), constant_values=self.vocabulary.pad),
            "weights": np.pad(asked[:, 1:], ((0, 0), (0, 1))).astype(np.float32),
        }


@dataclass(frozen=True)
class TeacherBatches(CorpusBatches):
    """What an encoder-decoder learns from: rows of sources, and rows of the targets with the same segment numbers.

    The decoder reads the start token and the target, and writes the target and the end (teacher forcing).

    Attributes:
        widths: tuple of int. Tokens in a row of sources, and in one of targets; see `widths_of`.
    """

    widths: tuple[int, int]

    def make(self, rows: PackedRows, _random: RowRandom) -> Batch:
        """Return token_ids, segment_ids (rows, widths[0]); of the decoder, targets and weights (rows, widths[1])."""
        tokens, segments = rows.token_ids.astype(np.int32), rows.segment_ids.astype(np.int32)
        read, written = sides_of(tokens, segments, self.vocabulary.separator)
        pad, (source_width, target_width) = self.vocabulary.pad, self.widths
        targets = _left(tokens, written, target_width, pad)
        owners = _left(segments, written, target_width, 0)
        opens = owners != np.pad(owners[:, :-1], ((0, 0), (1, 0)))
        shifted = np.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=pad)
        return {
            "token_ids": _left(tokens, read, source_width, pad),
            "segment_ids": _left(segments, read, source_width, 0),
            "decoder_token_ids": np.where(opens & (owners > 0), self.vocabulary.start, shifted),
            "decoder_segment_ids": owners,
            "targets": targets,
            "weights": (owners > 0).astype(np.float32),
        }


def sides_of(tokens: np.ndarray, segments: np.ndarray, separator: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens are of sources and which of targets, (rows, seq) bool; what separates them is of neither."""
    written = answers_in(tokens, segments, separator)
    between = np.pad(written[:, 1:], ((0, 0), (0, 1))) & ~written  # the token before a target
    return (segments > 0) & ~written & ~between, written


def widths_of(parts: Iterable[tuple[np.ndarray, np.ndarray]], separator: int) -> tuple[int, int]:
    """Return the most tokens of sources, and of targets, in any row, rounded up to a multiple of STRIDE.

    Args:
        parts: iterable of pairs. Token ids and segment ids of some rows, (rows, seq) each.
        separator: int. Its id.
    """
    widest = np.zeros(2, np.int64)
    for tokens, segments in parts:
        sides = sides_of(tokens, segments, separator)
        widest = np.maximum(widest, [side.sum(axis=1).max(initial=0) for side in sides])
    source, target = (-(-int(width) // STRIDE) * STRIDE for width in widest)
    return source, target


def _left(values: np.ndarray, chosen: np.ndarray, width: int, filler: int) -> np.ndarray:
    """Return the chosen values of each row side by side, (rows, width) int32."""
    moved = np.full((len(values), width), filler, np.int32)
    moved[np.arange(width) < chosen.sum(axis=1)[:, None]] = values[chosen]
    return moved
