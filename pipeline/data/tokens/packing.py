"""Best-fit packing of short documents into rows of one length, so that no compute is spent on padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.tokens.ragged import Ragged


@dataclass(frozen=True)
class PackedRows:
    """Documents side by side in rows of equal length.

    Attributes:
        token_ids: (rows, sequence_length) uint16 or uint32. The pad token where there is no document.
        segment_ids: (rows, sequence_length) uint16. 0 where there is no document, else the document's number, from 1.
        documents: (rows, segments_per_row) int32. Which document a segment holds; -1 where there is none.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    documents: np.ndarray

    def __len__(self) -> int:
        return len(self.token_ids)


def pack(
    documents: Ragged, sequence_length: int, seed: int | Sequence[int], pad: int, max_segments: int | None = None
) -> PackedRows:
    """Return whole documents packed into rows; each goes to the fullest open row that still holds it.

    Best fit, in a seeded random order, so that neighbours in the input do not share a row.

    Args:
        documents: Ragged. Token ids; no document longer than `sequence_length`.
        sequence_length: int. Tokens in a row.
        seed: int, or several. Of the order.
        pad: int. Token id that fills a row up.
        max_segments: int. Most documents in a row; None for no limit.

    Raises:
        ValueError: a document is empty or longer than a row.
    """
    lengths = documents.lengths
    if len(lengths) and (lengths.min() < 1 or lengths.max() > sequence_length):
        raise ValueError(
            f"documents have {lengths.min()} to {lengths.max()} tokens; a row holds 1 to {sequence_length}"
        )
    order = np.random.default_rng(seed).permutation(len(lengths))
    rows = _assign_rows(lengths, order, sequence_length, max_segments or sequence_length)
    counts = np.array([len(row) for row in rows], np.int64)
    packed = PackedRows(
        token_ids=np.full((len(rows), sequence_length), pad, documents.values.dtype),
        segment_ids=np.zeros((len(rows), sequence_length), np.uint16),
        documents=np.full((len(rows), int(counts.max(initial=1))), -1, np.int32),
    )
    if not rows:
        return packed
    placed = np.concatenate([np.array(row, np.int64) for row in rows])  # document numbers, row by row
    segment = np.arange(len(placed)) - np.repeat(np.cumsum(counts) - counts, counts)  # place within the row
    row = np.repeat(np.arange(len(rows)), counts)
    packed.documents[row, segment] = placed
    content = documents.take(placed)
    sizes = lengths[placed]
    used = np.bincount(row, weights=sizes, minlength=len(rows)).astype(np.int64)
    filled = np.arange(sequence_length) < used[:, None]  # (rows, sequence_length)
    packed.token_ids[filled] = content.values
    packed.segment_ids[filled] = np.repeat(segment + 1, sizes)
    return packed


def _assign_rows(lengths: np.ndarray, order: np.ndarray, sequence_length: int, max_segments: int) -> list[list[int]]:
    """Return the document numbers of each row, in the order in which rows were opened."""
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(sequence_length + 1)]  # row numbers by free tokens
    free_sizes = 0  # bit k is set while a row with k free tokens is open, so the best fit is the lowest bit from k up
    for document in order.tolist():
        length = int(lengths[document])
        fitting = free_sizes >> length
        if fitting:
            free = length + (fitting & -fitting).bit_length() - 1
            number = open_rows[free].pop()
            if not open_rows[free]:
                free_sizes ^= 1 << free
            rows[number].append(document)
        else:
            free = sequence_length
            number = len(rows)
            rows.append([document])
        left = free - length
        if left and len(rows[number]) < max_segments:
            open_rows[left].append(number)
            free_sizes |= 1 << left
    return rows


def cut(documents: Ragged, sequence_length: int) -> Ragged:
    """Return documents as pieces of at most `sequence_length` tokens, none lost."""
    pieces = -(-documents.lengths // sequence_length)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    within = (np.arange(len(first)) - first) * sequence_length
    starts = np.repeat(documents.offsets[:-1], pieces) + within
    return Ragged(documents.values, np.append(starts, documents.offsets[-1]))
