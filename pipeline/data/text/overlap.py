"""Pretraining texts that hold what a task is judged on: n words in a row of a validation or test text.

The check of GPT-3 (arXiv 2005.14165, appendix C), with 13 words as there. Texts are given in normal form
(`words.normalise`). A word of the ICD-10-CM texts takes 150 ns on one core, against a fifth of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.data.text.arrays import pieces
from pipeline.data.text.words import Words, growing_ngrams, hash_words

SHORTEST = 5  # words; a shorter evaluation text is in half of all documents by chance
LARGEST_FILTER = 26  # bits


@dataclass(frozen=True)
class _Known:
    """The n-grams of one length: sorted, with a table by their first bits that tells most others at one look."""

    hashes: np.ndarray  # (known,) uint64

    @cached_property
    def bits(self) -> int:
        return min(LARGEST_FILTER, 4 + len(self.hashes).bit_length())

    @cached_property
    def table(self) -> np.ndarray:
        table = np.zeros(2**self.bits, bool)
        table[self._first_bits(self.hashes)] = True
        return table

    def find(self, hashes: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Return at which positions inside stands a known hash, (m,) int64."""
        positions = np.flatnonzero(self.table[self._first_bits(hashes)] & inside)
        wanted = hashes[positions]
        nearest = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        found: np.ndarray = positions[self.hashes[nearest] == wanted]
        return found

    def _first_bits(self, hashes: np.ndarray) -> np.ndarray:
        return (hashes >> np.uint64(64 - self.bits)).astype(np.int64)


@dataclass(frozen=True)
class EvaluationNgrams:
    """The n-grams of the texts that tasks are judged on; by length, since texts of 5 to n - 1 words count as a whole.

    Texts below 5 words are not here: only a text equal to one (`duplicates.keys`) overlaps it.
    """

    known: dict[int, _Known]

    @classmethod
    def of(cls, blocks: Iterable[pa.Array], n: int) -> EvaluationNgrams:
        """Return the n-grams of validation and test texts.

        Args:
            blocks: iterable of pa.Array of string. From `normalise`.
            n: int. Words in an n-gram, at least 5.
        """
        collected: dict[int, list[np.ndarray]] = {length: [] for length in range(SHORTEST, n + 1)}
        for words in (hash_words(piece) for block in blocks for piece in pieces(block)):
            for length, hashes in _counted(words, n):
                collected[length].append(np.unique(hashes))
        parts = {length: np.unique(np.concatenate(found)) for length, found in collected.items() if found}
        return cls({length: _Known(hashes) for length, hashes in parts.items() if len(hashes)})

    def matches(self, normal: pa.Array) -> np.ndarray:
        """Return which texts hold one of the n-grams, (texts,) bool.

        Args:
            normal: pa.Array of string, (texts,). From `normalise`.
        """
        found = [np.empty(0, bool), *(self._matches(hash_words(piece)) for piece in pieces(normal))]
        return np.concatenate(found)

    def save(self, folder: Path) -> None:
        """Write one file of sorted hashes per length to a folder that is made."""
        folder.mkdir(parents=True)
        for length, known in self.known.items():
            np.save(folder / f"{length}.npy", known.hashes)

    @classmethod
    def load(cls, folder: Path) -> EvaluationNgrams:
        """Return what `save` wrote; the hashes stay on disk, and processes share the pages that they read."""
        paths = sorted(folder.glob("*.npy"), key=lambda path: int(path.stem))
        return cls({int(path.stem): _Known(np.load(path, mmap_mode="r")) for path in paths})

    def _matches(self, words: Words) -> np.ndarray:
        matches = np.zeros(len(words.counts), bool)
        for length, hashes, inside in growing_ngrams(words, max(self.known, default=0)):
            if length in self.known:
                places = self.known[length].find(hashes, inside)
                matches[np.searchsorted(words.offsets, places, side="right") - 1] = True
        return matches


def _counted(words: Words, n: int) -> Iterable[tuple[int, np.ndarray]]:
    """Yield the hashes that count: all n-grams of texts of n words and more, and shorter texts as a whole."""
    starts = words.offsets[:-1]
    for length, hashes, inside in growing_ngrams(words, n):
        if length == n:
            yield n, hashes[inside]
        elif length >= SHORTEST:
            yield length, hashes[starts[words.counts == length]]
