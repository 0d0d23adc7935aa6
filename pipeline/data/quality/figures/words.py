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

from pipeline.data.quality.figures.spool import Spool, group_starts, hash_strings
from pipeline.data.text.words import normalise, space_out

AROUND = ".,;:!?\u2026\"'`\u00b4()[]{}<>\u00ab\u00bb\u201c\u201d\u201e\u2018\u2019*_~/\\|-\u2013\u2014"
LONGEST = 64  # characters of a word that are told apart
NAMED = 500_000  # words whose text is remembered; beyond it the rarest are forgotten
TOP = 50
KNOWN = 50_000  # words that a later drift check knows
FOLDS = 10


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

    def folds(self, texts: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """Return in which folds (bits) each word occurs, (distinct,) uint16; `fold` (texts,) is each text's."""
        chosen = np.repeat(texts, self.counts) & (self.codes >= 0)
        cells = self.codes[chosen].astype(np.int64) * FOLDS + np.repeat(fold, self.counts)[chosen]
        occurs = np.bincount(cells, minlength=len(self.words) * FOLDS).reshape(-1, FOLDS) > 0
        bits: np.ndarray = occurs @ (1 << np.arange(FOLDS))
        return bits.astype(np.uint16)


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
        known: (n, 2) uint64. Hashes of the KNOWN commonest words, and how often they occur.
        expected_unknown: float. Share of the words of one tenth of the texts that are not among `known` of the others,
            on average over the tenths: what new texts of the same kind would have.
        out_of_vocabulary: float. Share of the held-out words that the rest has not; of each tenth, where none is given.
        top: dict of str to int. The commonest words.
    """

    distinct: int
    words: int
    known: np.ndarray
    expected_unknown: float
    out_of_vocabulary: float
    top: dict[str, int]


class Vocabulary:
    """Counts words: all, those of a held-out part, and in which tenths of the texts they occur."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder, [("times", "u4"), ("held", "u4"), ("folds", "u2")])
        self.named: dict[str, int] = {}

    def add(self, chunk: ChunkWords, rows: np.ndarray, held: np.ndarray, fold: np.ndarray) -> None:
        """Count the words of the texts that `rows` selects; `held` says which are held out, `fold` numbers tenths."""
        times = chunk.times(rows)
        present = np.flatnonzero(times)
        self.spool.add(
            chunk.hashes[present],
            times=times[present],
            held=chunk.times(rows & held)[present] if held.any() else 0,
            folds=chunk.folds(rows, fold)[present],
        )
        for place, count in zip(present.tolist(), times[present].tolist(), strict=True):
            word = chunk.words[place]
            self.named[word] = self.named.get(word, 0) + count
        least = 2
        while len(self.named) > NAMED:
            self.named = {word: count for word, count in self.named.items() if count >= least}
            least *= 2

    def lexicon(self) -> Lexicon:
        """Return the figures; which words are the commonest is exact while fewer than NAMED are known."""
        distinct = total = held = new = alone = 0
        known = np.empty((0, 3), np.int64)  # hash as int64, times, whether in one tenth only
        for records in self.spool.parts():
            starts = group_starts(records)
            if not len(starts):
                continue
            times = np.add.reduceat(records["times"].astype(np.int64), starts)
            in_held = np.add.reduceat(records["held"].astype(np.int64), starts)
            folds = np.bitwise_or.reduceat(records["folds"], starts)
            single = (folds & (folds - 1)) == 0
            distinct, total, held = distinct + len(starts), total + int(times.sum()), held + int(in_held.sum())
            new, alone = new + int(in_held[in_held == times].sum()), alone + int(times[single].sum())
            found = np.stack([records["key"][starts].view(np.int64), times, single], axis=1)
            known = np.concatenate([known, found])
            known = known[np.lexsort((known[:, 0], -known[:, 1]))][:KNOWN]
        listed = int(known[known[:, 2] == 0][:, 1].sum())
        return Lexicon(
            distinct=distinct,
            words=total,
            known=known[:, :2].astype(np.uint64),
            expected_unknown=(total - listed) / total if total else 0.0,
            out_of_vocabulary=new / held if held else alone / total if total else 0.0,
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
        "out_of_vocabulary": round(lexicon.out_of_vocabulary, 6),
        "top_words": lexicon.top,
    }
