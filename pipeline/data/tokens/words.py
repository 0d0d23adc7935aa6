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
        starts: Ragged. Of each document's words, the place of the first piece, int32.
        owners: (documents,) int64. The text of each document.
    """

    documents: Ragged
    starts: Ragged
    owners: np.ndarray


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
        cut = self.windows(texts, max_length)
        first = np.flatnonzero(np.diff(cut.owners, prepend=-1))
        return EncodedWords(cut.documents.take(first), cut.starts.take(first), cut.owners[first])

    def windows(self, texts: pa.Array, max_length: int) -> EncodedWords:
        """Return the documents of texts, a longer text in several, each with the next of its words."""
        words = [words_of(text) for text in texts.to_pylist()]
        values, ends = self._pieces([word for own in words for word in own])
        first = np.cumsum([0, *map(len, words)])
        documents, starts, owners = [], [], []
        for text in range(len(words)):
            own = ends[first[text] : first[text + 1] + 1]
            begin = 0
            while begin < len(own) - 1 or not begin:
                kept = int(np.searchsorted(own, own[begin] + max_length - 1, side="right")) - 1
                kept = min(max(kept, begin + 1), len(own) - 1)  # of a word that is too long, what fits
                pieces = values[own[begin] : own[kept]][: max_length - 1]
                documents.append(np.concatenate([[self.encoder.vocabulary.start], pieces]))
                starts.append(own[begin:kept] - own[begin] + 1)
                owners.append(text)
                begin = max(kept, 1)
        dtype = self.encoder.vocabulary.dtype
        return EncodedWords(Ragged.of(documents, dtype), Ragged.of(starts, np.int32), np.array(owners, np.int64))

    def _pieces(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the token ids of words, one after the other, and where each begins, with the end of the last."""
        vocabulary = self.encoder.vocabulary
        encoded = self.encoder.encode(pa.array([f" {word}" for word in words], pa.string()))
        opened, lengths = encoded.offsets[:-1], encoded.lengths  # each begins with the start token
        bare = lengths == 1
        values, inside = encoded.values.copy(), np.ones(len(encoded.values), bool)
        values[opened[bare]] = vocabulary.mask
        inside[opened[~bare]] = False
        return values[inside], np.concatenate([[0], np.cumsum(np.where(bare, 1, lengths - 1))])
