"""Contexts and their questions as documents in which each piece of the context knows its characters.

A document is laid out as every text with a second text is: start token, context, separator, question. What of a
question is over half of a document is cut off; a context that does not fit beside its question goes into several
documents, windows that overlap by a third, so that an answer cut by the end of one is whole in the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.tokens.encode import WHITE_SPACE, TextEncoder
from pipeline.data.tokens.ragged import Ragged, concatenate

OVERLAP = 1 / 3
TEXTS_AT_ONCE = 1000
Places = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Windows:
    """Documents, and which characters of its text each piece of their contexts stands for.

    Attributes:
        documents: Ragged. Token ids behind the start token; piece k of the context is token k + 1.
        owners: (documents,) int64. The text of each, rising.
        begins: Ragged. Of each document's context pieces, the first character, int32.
        ends: Ragged. The same pieces, the character behind the last.
    """

    documents: Ragged
    owners: np.ndarray
    begins: Ragged
    ends: Ragged

    def targets(self, answers: Sequence[Places]) -> np.ndarray:
        """Return the first and the last token of each document's answer, (documents, 2) int32.

        That is the first of the acceptable ones that is whole in it; the start token, 0, where none is; and -1 where
        none is whole in any window of the text, which so can teach nothing.

        Args:
            answers: sequence of [(begin, end), ...]. Of each text, in characters.
        """
        targets = np.zeros((len(self.owners), 2), np.int32)
        for number, owner in enumerate(self.owners):
            begins, ends = self.begins[number], self.ends[number]
            for begin, end in answers[owner]:
                first = int(np.searchsorted(ends, begin, side="right"))
                last = int(np.searchsorted(begins, end, side="left")) - 1
                whole = first <= last and begins[first] <= begin and end <= ends[last]
                if whole:
                    targets[number] = first + 1, last + 1
                    break
        found = np.bincount(self.owners, weights=targets[:, 0] > 0, minlength=len(answers)) > 0
        wanted = np.fromiter(map(bool, answers), bool, len(answers))
        targets[(wanted & ~found)[self.owners]] = -1
        return targets

    def candidates(self) -> Ragged:
        """Return which tokens of each document may begin or end an answer, int32: the context's and the start token."""
        ones = [
            np.arange(size) <= pieces for size, pieces in zip(self.documents.lengths, self.begins.lengths, strict=True)
        ]
        return Ragged.of(ones, np.int32)


class ContextEncoder:
    """Encodes contexts and questions.

    Args:
        encoder: TextEncoder. Of the whole texts' tokenizer.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def windows(self, texts: pa.Array, questions: pa.Array, max_length: int) -> Windows:
        """Return the documents of texts and their questions, (texts,) string each, of at most `max_length` tokens."""
        vocabulary = self.encoder.vocabulary
        distinct = texts.dictionary_encode()  # many questions share a context
        ids, begins, ends = self._pieces(distinct.dictionary.to_pylist())
        asked = self.encoder.encode(pc.fill_null(questions, ""))
        asked = asked.slices(asked.offsets[:-1] + 1, np.minimum(asked.lengths - 1, (max_length - 2) // 2))
        documents, first, behind, owners = [], [], [], []
        for number, context in enumerate(distinct.indices.to_numpy()):
            question = asked[number]
            for window in windows_of(int(ids.lengths[context]), max_length - 2 - len(question)):
                parts = (np.array([vocabulary.start]), ids[context][window], np.array([vocabulary.separator]), question)
                documents.append(np.concatenate(parts))
                first.append(begins[context][window])
                behind.append(ends[context][window])
                owners.append(number)
        return Windows(
            Ragged.of(documents, vocabulary.dtype),
            np.array(owners, np.int64),
            Ragged.of(first, np.int32),
            Ragged.of(behind, np.int32),
        )

    def _pieces(self, texts: list[str]) -> tuple[Ragged, Ragged, Ragged]:
        """Return the token ids of texts, and the characters that each piece begins with and ends before."""
        found: tuple[list[Ragged], ...] = ([Ragged.of([])], [Ragged.of([], np.int32)], [Ragged.of([], np.int32)])
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            encodings = self.encoder.tokenizer.encode_batch(some, add_special_tokens=False)
            characters = [_characters(text, encoding.offsets) for text, encoding in zip(some, encodings, strict=True)]
            found[0].append(
                Ragged.of([np.array(encoding.ids) for encoding in encodings], self.encoder.vocabulary.dtype)
            )
            found[1].append(Ragged.of([begins for begins, _ in characters], np.int32))
            found[2].append(Ragged.of([ends for _, ends in characters], np.int32))
        ids, begins, ends = (concatenate(parts) for parts in found)
        return ids, begins, ends


def windows_of(pieces: int, room: int) -> list[slice]:
    """Return which pieces each window holds: `room` of them at most, a third of them in the next one too."""
    step = room - int(room * OVERLAP)
    last = max(0, -(-(pieces - room) // step))
    return [slice(number * step, min(number * step + room, pieces)) for number in range(last + 1)]


def _characters(text: str, offsets: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the characters that pieces begin with and end before, (pieces,) each, without the white space around them.

    Characters of which a tokenizer makes nothing, such as an accent that it joins with its letter, belong to the piece
    before them. A piece of nothing but white space ends where it begins, or before.
    """
    spans = np.array(offsets, np.int64).reshape(-1, 2)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    places = np.arange(len(text) + 1)
    blank = np.append(np.isin(codes, SPACES), False)
    after = np.minimum.accumulate(np.where(blank, len(text), places)[::-1])[::-1]  # the next character that is no blank
    before = np.maximum.accumulate(np.concatenate([[0], np.where(blank[:-1], 0, places[1:])]))  # behind the last one
    ends = np.maximum(spans[:, 1], np.append(spans[1:, 0], len(text))) if len(spans) else spans[:, 1]
    return after[spans[:, 0]], before[ends]


SPACES = np.array([ord(character) for character in WHITE_SPACE], np.uint32)
