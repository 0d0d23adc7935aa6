"""Texts encoded word by word, so that each word of a tagger's text is known by its first piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.data.answers import words_of
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.ragged import Ragged


@dataclass(frozen=True)
class EncodedWords:
    """Documents, and where their words begin in them.

    Attributes:
        documents: Ragged. Token ids behind the start token.
        starts: Ragged. Of each document's words, the place of the first piece, int32; words that were cut off are none.
    """

    documents: Ragged
    starts: Ragged


class WordEncoder:
    """Encodes the words between a text's blanks one by one.

    A word of which the tokenizer makes nothing gets the mask token, so that every word has a piece.

    Args:
        encoder: TextEncoder. Of the whole texts' tokenizer.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def encode(self, texts: pa.Array, max_length: int) -> EncodedWords:
        """Return the documents of texts, without the words that would make one longer than `max_length` tokens."""
        words = [words_of(text) for text in texts.to_pylist()]
        counts = np.array([len(own) for own in words], np.int64)
        flat = [f" {word}" for own in words for word in own]
        pieces = self.encoder.encode(pa.array(flat, pa.string()))  # each behind a start token, which takes its place
        vocabulary = self.encoder.vocabulary
        values, lengths = pieces.values.copy(), pieces.lengths
        bare = lengths == 1
        values[pieces.offsets[:-1][bare]] = vocabulary.mask
        inside = np.ones(len(values), bool)
        inside[pieces.offsets[:-1][~bare]] = False
        values, lengths = values[inside], np.where(bare, 1, lengths - 1)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        first = np.concatenate([[0], np.cumsum(counts)])  # of each text's words, and one more
        documents, starts = [], []
        for text in range(len(words)):
            own = ends[first[text] : first[text + 1] + 1]
            kept = int(np.searchsorted(own - own[0], max_length - 1, side="right")) - 1
            documents.append(np.concatenate([[vocabulary.start], values[own[0] : own[kept]]]))
            starts.append(own[:kept] - own[0] + 1)
        return EncodedWords(Ragged.of(documents, vocabulary.dtype), Ragged.of(starts, np.int32))
