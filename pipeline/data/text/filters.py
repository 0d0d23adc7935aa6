"""Rules that drop a document from the pretraining corpus, each by its name in the recipe.

After Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1) and C4 (Raffel et al. 2020, arXiv 1910.10683, section
2.2); the numbers in the docstrings are theirs. Words are what white space divides, and single characters of scripts
without it. All rules but `languages` together take 390 ns a word of the ICD-10-CM texts on one core; a language costs
0.1 to 0.3 ms a text, so it is looked for last, in what the other rules leave.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Filters
from pipeline.data.text.arrays import pieces
from pipeline.data.text.words import even, space_out, split_words
from pipeline.errors import RecipeError

BULLET = r"^\s*[-*+\x{2022}\x{2023}\x{25aa}\x{25cf}\x{25e6}\x{2043}\x{2219}\x{b7}]\s"
TELLING = 300  # characters, from the middle, that a text's language is told from
SURE = 0.5  # probability of a language that is not wanted


class Documents:
    """Texts, and what the rules count in them, counted once and only if a rule asks."""

    def __init__(self, texts: pa.Array) -> None:
        self.texts = pc.fill_null(texts, "")

    @cached_property
    def _split(self) -> tuple[pa.DictionaryArray, np.ndarray]:
        return split_words(space_out(even(self.texts)))

    @cached_property
    def words(self) -> np.ndarray:
        """Words of each text, (texts,) int64."""
        counts: np.ndarray = np.diff(self._split[1])
        return counts

    @cached_property
    def codes(self) -> np.ndarray:
        """Which word each word is, (words,) int64."""
        codes: np.ndarray = self._split[0].indices.to_numpy().astype(np.int64)
        return codes

    @cached_property
    def distinct(self) -> pa.Array:
        """The distinct words, by their codes."""
        return self._split[0].dictionary

    @cached_property
    def lines(self) -> tuple[pa.Array, np.ndarray]:
        """Lines that are not blank, (lines,), and the text of each, (lines,) int64."""
        lists = pc.split_pattern(self.texts, "\n")
        lines, owners = pc.utf8_trim_whitespace(lists.flatten()), pc.list_parent_indices(lists).to_numpy()
        written = pc.not_equal(lines, "")
        return lines.filter(written), owners[written.to_numpy(zero_copy_only=False)].astype(np.int64)

    def sum_words(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over each text's words of a number for each distinct word, (texts,) int64."""
        sums = np.concatenate([[0], np.cumsum(values.astype(np.int64)[self.codes])])
        totals: np.ndarray = np.diff(sums[self._split[1]])
        return totals

    def count(self, pattern: str) -> np.ndarray:
        """Return how often each text has a string, (texts,) int64."""
        counts: np.ndarray = pc.count_substring(self.texts, pattern).to_numpy(zero_copy_only=False).astype(np.int64)
        return counts


def dropped_by(texts: pa.Array, config: Filters) -> pa.Array:
    """Return the name of the first rule that drops each text, in the order of the recipe's schema, or null.

    Args:
        texts: pa.Array of string, (texts,). Cleaned, and not normalised: lines count.
        config: Filters.

    Raises:
        RecipeError: `languages` names one that is not known.
    """
    parts = [_dropped_by(Documents(piece), config) for piece in pieces(texts)]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def min_words(documents: Documents, limit: int) -> np.ndarray:
    """Too short (Gopher: 50 words; C4: 5 sentences)."""
    return documents.words < limit


def max_words(documents: Documents, limit: int) -> np.ndarray:
    """Too long (Gopher: 100,000 words)."""
    return documents.words > limit


def max_mean_word_length(documents: Documents, limit: float) -> np.ndarray:
    """Words too long on average (Gopher: 10 characters)."""
    lengths = pc.utf8_length(documents.distinct).to_numpy(zero_copy_only=False)
    return _exceeds(documents.sum_words(lengths), documents.words, limit)


def min_alphabetic_share(documents: Documents, limit: float) -> np.ndarray:
    """Too few words with a letter (Gopher: 80 %)."""
    alphabetic = pc.match_substring_regex(documents.distinct, r"\p{L}").to_numpy(zero_copy_only=False)
    dropped: np.ndarray = _share(documents.sum_words(alphabetic), documents.words) < limit
    return dropped


def max_symbol_share(documents: Documents, limit: float) -> np.ndarray:
    """Too many hash signs, or too many ellipses, a word (Gopher: 0.1 of either)."""
    ellipses = documents.count("...") + documents.count("\u2026")
    return _exceeds(np.maximum(documents.count("#"), ellipses), documents.words, limit)


def max_bullet_share(documents: Documents, limit: float) -> np.ndarray:
    """Too many lines that begin with a bullet (Gopher: 90 %)."""
    lines, owners = documents.lines
    bullets = pc.match_substring_regex(lines, BULLET).to_numpy(zero_copy_only=False)
    return _exceeds(_count(owners[bullets], documents), _count(owners, documents), limit)


def max_repeated_line_share(documents: Documents, limit: float) -> np.ndarray:
    """Too many lines that repeat another of the document (Gopher: 30 %)."""
    lines, owners = documents.lines
    codes = lines.dictionary_encode().indices.to_numpy().astype(np.int64)
    distinct = np.unique(owners << 32 | codes) >> 32
    total = _count(owners, documents)
    return _exceeds(total - _count(distinct, documents), total, limit)


def max_repeated_word_share(documents: Documents, limit: float) -> np.ndarray:
    """One word too much of the text (after Gopher's shares of the commonest n-grams)."""
    owners = np.repeat(np.arange(len(documents.words)), documents.words)
    pairs, counts = np.unique(owners << 32 | documents.codes, return_counts=True)
    most = np.zeros(len(documents.words), np.int64)
    np.maximum.at(most, pairs >> 32, counts)
    return _exceeds(most, documents.words, limit)


RULES: dict[str, Callable[[Documents, Any], np.ndarray]] = {
    rule.__name__: rule
    for rule in (
        min_words,
        max_words,
        max_mean_word_length,
        min_alphabetic_share,
        max_symbol_share,
        max_bullet_share,
        max_repeated_line_share,
        max_repeated_word_share,
    )
}


def _dropped_by(documents: Documents, config: Filters) -> pa.Array:
    limits = {name: getattr(config, name) for name in RULES}
    kept = np.ones(len(documents.texts), bool)
    found = np.full(len(kept), len(RULES), np.int8)
    for code, (name, limit) in enumerate(limits.items()):
        if limit is not None:
            drops = kept & RULES[name](documents, limit)
            found[drops] = code
            kept &= ~drops
    names = pa.array([*RULES, None, "languages"])
    if config.languages is not None and kept.any():
        foreign = is_foreign(documents.texts.filter(pa.array(kept)), config.languages)
        found[np.flatnonzero(kept)[foreign]] = len(names) - 1
    return names.take(pa.array(found))


def is_foreign(texts: pa.Array, languages: list[str]) -> np.ndarray:
    """Return which texts are probably in a language that is not wanted, (texts,) bool (C4: not surely in English).

    A text whose language is in doubt is kept: of the ICD-10-CM texts, English of few words, 18 % look most like another
    language, and 0.6 % are dropped.

    Raises:
        RecipeError: a language is not among those that py3langid tells apart.
    """
    identifier = _identifier()
    if unknown := [language for language in languages if language not in identifier.labels]:
        raise RecipeError(
            f"preprocess.filters.languages names {unknown[0]!r}; expected codes of ISO 639-1 such as en, of: "
            f"{', '.join(sorted(identifier.labels))}"
        )
    found = np.zeros(len(texts), bool)
    for place, text in enumerate(texts.to_pylist()):
        start = max(0, (len(text) - TELLING) // 2)
        language, probability = identifier.classify(text[start : start + TELLING])
        found[place] = language not in languages and probability > SURE
    return found


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _exceeds(part: np.ndarray, whole: np.ndarray, limit: float) -> np.ndarray:
    exceeds: np.ndarray = _share(part, whole) > limit
    return exceeds


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, or 0 of nothing, (texts,) float64; 7 / 10 equals 0.7, where 0.7 * 10 is above 7."""
    shares: np.ndarray = part / np.maximum(whole, 1)
    return shares


def _count(owners: np.ndarray, documents: Documents) -> np.ndarray:
    """Return how often each text is an owner, (texts,) int64."""
    return np.bincount(owners, minlength=len(documents.texts))
