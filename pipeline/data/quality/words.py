"""The vocabulary of texts that stream by: how many words, which are the commonest, how many a held-out part has new.

A word is what stands between blanks (a character, in scripts without blanks), in lower case, without the punctuation
around it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.quality.spool import Spool, group_starts, hash_strings
from pipeline.data.text.words import normalise, space_out

AROUND = ".,;:!?\u2026\"'`\u00b4()[]{}<>\u00ab\u00bb\u201c\u201d\u201e\u2018\u2019*_~/\\|-\u2013\u2014"
LONGEST = 64  # characters of a word that are told apart
NAMED = 500_000  # words whose text is remembered; beyond it the rarest are forgotten
TOP = 50
KNOWN = 50_000  # words that a later drift check knows


@dataclass(frozen=True)
class ChunkWords:
    """The words of some texts.

    `words` (distinct,) with `hashes` (distinct,) uint64; `codes` (words in all,) tells each one's place in `words`, -1
    for what is punctuation only; `counts` (texts,) how many codes each text has.
    """

    words: list[str]
    hashes: np.ndarray
    codes: np.ndarray
    counts: np.ndarray

    def times(self, texts: np.ndarray) -> np.ndarray:
        """Return how often each word occurs in the texts that the mask selects, (distinct,) int64."""
        codes = self.codes[np.repeat(texts, self.counts)]
        return np.bincount(codes[codes >= 0], minlength=len(self.words))


def split_words(texts: pa.Array) -> ChunkWords:
    """Return the words of texts, (texts,) string without null."""
    spaced = space_out(normalise(texts))
    lists = pc.split_pattern(pc.if_else(pc.equal(spaced, ""), None, spaced), " ")
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    found = lists.flatten().dictionary_encode()
    trimmed = pc.utf8_slice_codeunits(pc.utf8_trim(found.dictionary, AROUND), 0, LONGEST)
    trimmed = pc.if_else(pc.equal(trimmed, ""), None, trimmed).dictionary_encode()
    place = pc.fill_null(trimmed.indices, -1).to_numpy(zero_copy_only=False)
    codes = place[found.indices.to_numpy(zero_copy_only=False)] if len(found) else np.empty(0, np.int64)
    return ChunkWords(trimmed.dictionary.to_pylist(), hash_strings(trimmed.dictionary), codes, counts)


@dataclass(frozen=True)
class Lexicon:
    """A vocabulary in figures.

    Attributes:
        distinct: int. Different words.
        words: int. Words in all.
        unknown: float. Share of the held-out words that the rest has not; 0 without any.
        known: (n, 2) uint64. Hashes of the commonest words of the rest, and how often they occur in it.
        unlisted: float. Share of the held-out words that are not among `known`.
        top: dict of str to int. The commonest words.
    """

    distinct: int
    words: int
    unknown: float
    known: np.ndarray
    unlisted: float
    top: dict[str, int]


class Vocabulary:
    """Counts words, those of a held-out part apart from the rest."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder, [("rest", "u4"), ("held", "u4")])
        self.named: dict[str, int] = {}

    def add(self, chunk: ChunkWords, rest: np.ndarray, held: np.ndarray) -> None:
        """Count the words of a chunk's texts in the two masks, each (texts,) bool."""
        in_rest, in_held = chunk.times(rest), chunk.times(held)
        total = in_rest + in_held
        present = np.flatnonzero(total)
        self.spool.add(chunk.hashes[present], rest=in_rest[present], held=in_held[present])
        for place, times in zip(present.tolist(), total[present].tolist(), strict=True):
            word = chunk.words[place]
            self.named[word] = self.named.get(word, 0) + times
        least = 2
        while len(self.named) > NAMED:
            self.named = {word: times for word, times in self.named.items() if times >= least}
            least *= 2

    def lexicon(self) -> Lexicon:
        """Return the figures; the counts of the commonest words are exact while fewer than NAMED are known."""
        distinct = rest = held = unknown = 0
        known = np.empty((0, 3), np.uint64)  # hash, times in the rest, times held out
        for records in self.spool.parts():
            starts = group_starts(records)
            if not len(starts):
                continue
            in_rest = np.add.reduceat(records["rest"].astype(np.uint64), starts)
            in_held = np.add.reduceat(records["held"].astype(np.uint64), starts)
            distinct, rest, held = distinct + len(starts), rest + int(in_rest.sum()), held + int(in_held.sum())
            unknown += int(in_held[in_rest == 0].sum())
            found = np.stack([records["key"][starts], in_rest, in_held], axis=1)[in_rest > 0]
            known = np.concatenate([known, found])
            known = known[np.lexsort((known[:, 0], -known[:, 1].astype(np.int64)))][:KNOWN]
        listed = int(known[:, 2].sum())
        return Lexicon(
            distinct=distinct,
            words=rest + held,
            unknown=unknown / held if held else 0.0,
            known=known[:, :2],
            unlisted=(held - listed) / held if held else 0.0,
            top=self._top(),
        )

    def _top(self) -> dict[str, int]:
        ranked = sorted(self.named.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP]
        return {unicodedata.normalize("NFC", word): times for word, times in ranked}


def statistics(lexicon: Lexicon, held: str) -> dict[str, Any]:
    """Return the figures as JSON; `held` says which part was held out."""
    return {
        "words": lexicon.words,
        "distinct_words": lexicon.distinct,
        "held_out": held,
        "out_of_vocabulary": round(lexicon.unknown, 6),
        "top_words": lexicon.top,
    }
