"""Corrupted spans: what an encoder-decoder learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.data.tokens.packing import PackedRows
from pipeline.targets import decoder_length, num_sentinels
from pipeline.training.batches.order import Batch, CorpusBatches, RowRandom


@dataclass(frozen=True)
class SpanBatches(CorpusBatches):
    """Rows that lose spans, each leaving a sentinel behind; the decoder writes out both (T5).

    Raffel 2020, arXiv 1910.10683, section 3.1.4. A sentinel's id is the tokenizer's size plus the span's number in its
    row. A span never reaches over the end of a document, and its lengths are geometric, cut at three times the mean.

    Attributes:
        mask_fraction: float. Share of `sequence_length` that is lost, at most.
        span_length: float. Mean tokens of a span.
    """

    mask_fraction: float
    span_length: float

    def make(self, rows: PackedRows, random: RowRandom) -> Batch:
        """Return the arrays of an encoder-decoder.

        token_ids and segment_ids are (rows, seq); decoder_token_ids, decoder_segment_ids, targets and weights are
        (rows, decoder seq), the same for every row of a corpus.
        """
        rows_number, seq = rows.token_ids.shape
        spans = num_sentinels(seq, self.mask_fraction, self.span_length)
        width = decoder_length(seq, self.mask_fraction, self.span_length)
        pad = self.vocabulary.pad
        batch = {
            "token_ids": np.full((rows_number, seq), pad, np.int32),
            "segment_ids": np.zeros((rows_number, seq), np.int32),
            "decoder_token_ids": np.full((rows_number, width), pad, np.int32),
            "decoder_segment_ids": np.zeros((rows_number, width), np.int32),
            "targets": np.full((rows_number, width), pad, np.int32),
            "weights": np.zeros((rows_number, width), np.float32),
        }
        for row, own in enumerate(random.by_row()):
            tokens, segments = rows.token_ids[row].astype(np.int32), rows.segment_ids[row].astype(np.int32)
            lost = self._lost(tokens, segments, spans, own)
            for name, values in self._corrupt(tokens, segments, lost, width).items():
                batch[name][row, : len(values)] = values
        return batch

    def _lost(self, tokens: np.ndarray, segments: np.ndarray, spans: int, random: np.random.Generator) -> np.ndarray:
        """Return the number, from 1, of the span that each token is lost with, (seq,) int; 0 where it stays."""
        budget = round(len(tokens) * self.mask_fraction)
        lost = np.zeros(len(tokens), np.int32)
        eligible = self.vocabulary.ordinary()[tokens] & (segments > 0)
        starts = np.sort(random.permutation(np.flatnonzero(eligible))[:spans])
        lengths = np.minimum(random.geometric(1 / self.span_length, len(starts)), round(3 * self.span_length))
        number = 0
        for start, length in zip(starts, lengths, strict=True):
            end = start
            while end < len(tokens) and end < start + min(length, budget) and segments[end] == segments[start]:
                if lost[end] or not eligible[end]:
                    break
                end += 1
            if end > start:
                number += 1
                lost[start:end] = number
                budget -= int(end - start)
        return lost

    def _corrupt(self, tokens: np.ndarray, segments: np.ndarray, lost: np.ndarray, width: int) -> dict[str, np.ndarray]:
        first = (lost > 0) & (lost != np.pad(lost[:-1], (1, 0)))
        sentinels = self.vocabulary.size + lost - 1
        kept = (lost == 0) | first
        # The decoder reads `start` for every document that lost something, then all but the last of what it writes.
        places = np.flatnonzero(lost)
        before = np.flatnonzero(first)
        order = np.argsort(np.concatenate([before * 2, places * 2 + 1]), kind="stable")
        targets = np.concatenate([sentinels[before], tokens[places]])[order][:width]
        owners = np.concatenate([segments[before], segments[places]])[order][:width]
        opens = owners != np.pad(owners[:-1], (1, 0))
        reads = np.where(opens, self.vocabulary.start, np.pad(targets[:-1], (1, 0)))
        return {
            "token_ids": np.where(first, sentinels, tokens)[kept],
            "segment_ids": segments[kept],
            "decoder_token_ids": reads,
            "decoder_segment_ids": owners,
            "targets": targets,
            "weights": np.ones(len(targets), np.float32),
        }
