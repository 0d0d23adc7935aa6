"""Texts longer than the model, in windows: each as long as the model, evenly spread, the last one ending with the text.

The same windows are learned from, each with the text's answer, and asked, their logits averaged. So what stands late in
a text counts, and what is asked looks like what was learned; a window that says nothing of the answer is noise that a
model has to bear. Windows overlap by no more than it takes to make them equally long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.ragged import Ragged, join


@dataclass(frozen=True)
class Windows:
    """Documents, several of one text where it is longer than they may be.

    Attributes:
        documents: Ragged. Token ids behind the start token.
        owners: (documents,) int64. The text of each, rising.
    """

    documents: Ragged
    owners: np.ndarray


def windows(encoder: TextEncoder, texts: pa.Array, pairs: pa.Array | None, max_length: int) -> Windows:
    """Return the windows of texts; each holds the second text, of which half a window is sure to fit.

    Args:
        encoder: TextEncoder. Of the tokenizer.
        texts: Arrow array of str, without nulls.
        pairs: Arrow array of str. Second texts; null where a text has none.
        max_length: int. Most tokens of a document.
    """
    first = _bare(encoder.encode(texts))
    second = _nothing(len(texts), first)
    if pairs is not None:
        present = pc.is_valid(pairs).to_numpy(zero_copy_only=False)
        whole = _bare(encoder.encode(pc.fill_null(pairs, "")))
        most = np.maximum((max_length - 2) // 2, max_length - 2 - first.lengths)
        tails = whole.slices(whole.offsets[:-1], np.minimum(whole.lengths, most))
        second = join(_repeated(encoder.vocabulary.separator, present.astype(np.int64), first), tails)
    room = max_length - 1 - second.lengths  # (texts,)
    number = np.maximum(1, -(-first.lengths // room))
    owners = np.repeat(np.arange(len(texts)), number)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(number) - number, number)
    spare = np.maximum(first.lengths - room, 0)[owners]
    starts = first.offsets[:-1][owners] + (within * spare) // np.maximum(number[owners] - 1, 1)
    parts = first.slices(starts, np.minimum(first.lengths, room)[owners])
    opened = _repeated(encoder.vocabulary.start, np.ones(len(owners), np.int64), first)
    return Windows(join(opened, parts, second.take(owners)), owners)


def _bare(documents: Ragged) -> Ragged:
    """Return documents without their start tokens."""
    return documents.slices(documents.offsets[:-1] + 1, documents.lengths - 1)


def _nothing(count: int, like: Ragged) -> Ragged:
    return _repeated(0, np.zeros(count, np.int64), like)


def _repeated(token: int, times: np.ndarray, like: Ragged) -> Ragged:
    return Ragged(np.full(int(times.sum()), token, like.values.dtype), np.concatenate([[0], np.cumsum(times)]))
