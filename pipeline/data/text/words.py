"""Texts in normal form, the words of texts as 64-bit hashes, and the n-grams of these.

On the ICD-10-CM texts (6.5 words each), nanoseconds a word on one core: `normalise` 30 (120 in texts that have several
lines or a character beyond ASCII), `hash_words` 90, `ngrams` of 13 words 50.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.text.arrays import change, pieces

UNEVEN = r"  |^ | $|[\t-\r\x1c-\x1f\x85]|[^\P{Z} ]"
NOT_PLAIN = r"  |^ | $|[\t-\r\x1c-\x1f]|[^\x00-\x7f]"
# Scripts that write no blanks between words. \p{M} keeps a character and its marks together.
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
# Odd, so that multiplication loses no bit; else any number with well mixed bits (the golden ratio's).
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Words:
    """The words of texts: (words,) uint64 `hashes`, and (texts + 1,) int64 `offsets` at which each text begins."""

    hashes: np.ndarray
    offsets: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Words of each text, (texts,) int64."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """Which text each word belongs to, (words,) int64."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)


def normalise(texts: pa.Array, lowercase: bool = True) -> pa.Array:
    """Return the texts in the form in which equal texts count as duplicates; null becomes empty.

    Unicode NFKD (two texts are equal in NFKD exactly when they are in NFKC, which Arrow 25 leaves half done: it
    decomposes and does not compose), lower case, runs of white space made one blank, none at the ends.

    Args:
        texts: pa.Array of string, (texts,).
        lowercase: bool. Whether upper and lower case are alike.

    Returns:
        pa.Array of string, (texts,).
    """
    texts = pc.fill_null(texts, "")
    texts = pc.ascii_lower(texts) if lowercase else texts
    return change(texts, pc.match_substring_regex(texts, NOT_PLAIN), partial(_normalise_words, lowercase))


def even(texts: pa.Array) -> pa.Array:
    """Return texts with every run of white space made one blank, and none at the ends."""
    return change(texts, pc.match_substring_regex(texts, UNEVEN), lambda some: pc.binary_join(_split(some), " "))


def space_out(texts: pa.Array) -> pa.Array:
    """Return texts of even white space with a blank between words, in Chinese, Japanese, Thai, Lao, Khmer, Burmese too.

    Those scripts write none, so each of their characters stands for a word: a whole sentence would be one otherwise.
    """
    unspaced = pc.match_substring_regex(texts, UNSPACED)
    return change(texts, unspaced, lambda some: even(pc.replace_substring_regex(some, f"({UNSPACED})", r" \1 ")))


def count_words(spaced: pa.Array) -> np.ndarray:
    """Return how many words each text has, (texts,) int64; the texts come from `space_out`."""
    blanks = pc.count_substring(spaced, " ").to_numpy(zero_copy_only=False).astype(np.int64)
    counts: np.ndarray = blanks + pc.not_equal(spaced, "").to_numpy(zero_copy_only=False)
    return counts


def hash_words(normal: pa.Array) -> Words:
    """Return the words of normalised texts as hashes, which are the same in every process and on every machine.

    Args:
        normal: pa.Array of string, (texts,). From `normalise`.
    """
    words, offsets = split_words(space_out(normal))
    # Only distinct words become Python strings: a word comes some twenty times in four megabytes of text.
    distinct = pd.util.hash_array(words.dictionary.to_numpy(zero_copy_only=False), categorize=False)
    hashes = distinct[words.indices.to_numpy()] if len(words) else np.empty(0, np.uint64)
    return Words(hashes, offsets)


def split_words(spaced: pa.Array) -> tuple[pa.DictionaryArray, np.ndarray]:
    """Return the words of texts from `space_out`, (words,), and where each text begins, (texts + 1,) int64."""
    lists = pc.split_pattern(pc.if_else(pc.equal(spaced, ""), None, spaced), " ")
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return lists.flatten().dictionary_encode(), np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def ngrams(words: Words, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of every n words in a row within a text, (m,) uint64, and the text of each, (m,) int64."""
    *_, (_, hashes, inside) = growing_ngrams(words, n)
    return hashes[inside], words.owners[inside]


def growing_ngrams(words: Words, longest: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield, for n from 1 to `longest`, the hash of the n words that begin at each word, and where that is one text.

    A hash is a polynomial of the word hashes modulo 2^64, and each n costs one multiplication and addition a word.

    Args:
        words: Words.
        longest: int. Last n.

    Yields:
        n; (words,) uint64 hashes, which change in the next step; (words,) bool, where all n words are of one text.
    """
    rest = words.offsets[1:][words.owners] - np.arange(len(words.hashes))  # words from here to the end of the text
    hashes = words.hashes.copy()
    for n in range(1, longest + 1):
        if n > 1:
            hashes *= MULTIPLIER
            hashes[: 1 - n] += words.hashes[n - 1 :]
        yield n, hashes, rest >= n


def _normalise_words(lowercase: bool, texts: pa.Array) -> pa.Array:
    """Return texts in normal form by way of their distinct words: the normalisation of Unicode is the slow part."""
    return pa.concat_arrays([_normalise_piece(lowercase, piece) for piece in pieces(texts)])


def _normalise_piece(lowercase: bool, texts: pa.Array) -> pa.Array:
    lists = _split(texts)
    words = lists.values.dictionary_encode()
    forms = pc.utf8_normalize(words.dictionary, "NFKD")
    forms = pc.utf8_lower(forms) if lowercase else forms
    texts = pc.binary_join(pa.ListArray.from_arrays(lists.offsets, forms.take(words.indices)), " ")
    # The form of a spacing accent begins with a blank.
    return even(texts) if pc.any(pc.match_substring(forms, " ")).as_py() else texts


def _split(texts: pa.Array) -> pa.Array:
    return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts))
