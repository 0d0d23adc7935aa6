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
    row_of = _assign_rows(lengths[order], sequence_length, max_segments or sequence_length)  # (documents,) in order
    rows = int(row_of.max(initial=-1)) + 1
    counts = np.bincount(row_of, minlength=rows)
    packed = PackedRows(
        token_ids=np.full((rows, sequence_length), pad, documents.values.dtype),
        segment_ids=np.zeros((rows, sequence_length), np.uint16),
        documents=np.full((rows, int(counts.max(initial=1))), -1, np.int32),
    )
    by_row = np.argsort(row_of, kind="stable")
    placed, row = order[by_row], row_of[by_row]  # documents, row by row
    segment = np.arange(len(placed)) - np.repeat(np.cumsum(counts) - counts, counts)  # place within the row
    packed.documents[row, segment] = placed
    sizes = lengths[placed]
    used = np.bincount(row, weights=sizes, minlength=rows).astype(np.int64)
    filled = np.arange(sequence_length) < used[:, None]  # (rows, sequence_length)
    packed.token_ids[filled] = documents.take(placed).values
    packed.segment_ids[filled] = np.repeat(segment + 1, sizes)
    return packed


def _assign_rows(lengths: np.ndarray, sequence_length: int, max_segments: int) -> np.ndarray:
    """Return the row of each document, (documents,) int64, given one after the other; rows count as they are opened."""
    rows: list[int] = []
    segments: list[int] = []  # documents of each row
    open_rows: list[list[int]] = [[] for _ in range(sequence_length + 1)]  # row numbers by free tokens
    free_sizes = 0  # bit k is set while a row with k free tokens is open, so the best fit is the lowest bit from k up
    for length in lengths.tolist():
        fitting = free_sizes >> length
        if fitting:
            free = length + (fitting & -fitting).bit_length() - 1
            number = open_rows[free].pop()
            segments[number] += 1
            if not open_rows[free]:
                free_sizes ^= 1 << free
        else:
            free = sequence_length
            number = len(segments)
            segments.append(1)
        rows.append(number)
        left = free - length
        if left and segments[number] < max_segments:
            open_rows[left].append(number)
            free_sizes |= 1 << left
    return np.array(rows, np.int64)


def pieces_of(documents: Ragged, sequence_length: int) -> np.ndarray:
    """Return how many pieces `cut` makes of each document, (documents,) int64."""
    pieces: np.ndarray = -(-documents.lengths // sequence_length)
    return pieces


def cut(documents: Ragged, sequence_length: int) -> Ragged:
    """Return documents as pieces of at most `sequence_length` tokens, none lost."""
    pieces = pieces_of(documents, sequence_length)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    within = (np.arange(len(first)) - first) * sequence_length
    starts = np.repeat(documents.offsets[:-1], pieces) + within
    return Ragged(documents.values, np.append(starts, documents.offsets[-1]))
