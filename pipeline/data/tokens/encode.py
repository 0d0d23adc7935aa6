"""Texts to token ids, several times faster than the tokenizer alone: each distinct word of a block is encoded once.

Words come back: a block of English holds some twenty times more words than distinct ones. Where a tokenizer provably
never looks across the gap before a word, a text's tokens are those of its words, each with the white space before it,
one after the other; so the text is cut there, the distinct pieces are encoded, and the ids are gathered. A tokenizer
of another make, and a text whose normal form has other white space than the text itself, goes through
`encode_batch_fast` whole. `benchmarks/preprocess.py` has the figures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from pipeline.data.text.arrays import pieces
from pipeline.data.tokens.ragged import Ragged, concatenate, join
from pipeline.data.tokens.vocabulary import Vocabulary

# Normalizers that change a character by itself or with its neighbours, but never across ASCII white space.
LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip"}
ASCII_SPACE = b"\t\n\x0b\x0c\r "
# Unicode's White_Space, which the tokenizers strip; Arrow's own idea of it has the separators of ASCII as well.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
WORD_MARK = "▁"
MOST_WORDS = 1_000_000  # remembered from block to block


class TextEncoder:
    """Encodes texts as a tokenizer does, and opens each with the start token.

    Args:
        tokenizer: Tokenizer. Trained here, or given.
        whole_up_to: int. So few texts at once are encoded whole: a server that is asked one at a time would remember
            every word it ever saw, and gain nothing.
    """

    def __init__(self, tokenizer: Tokenizer, whole_up_to: int = 0) -> None:
        self.tokenizer = tokenizer
        self.whole_up_to = whole_up_to
        self.vocabulary = Vocabulary.of(tokenizer)

    @cached_property
    def _words(self) -> _WordTokenizer | None:
        return _WordTokenizer.of(self.tokenizer)

    def encode(
        self, texts: Sequence[str] | pa.Array, pairs: pa.Array | None = None, max_length: int | None = None
    ) -> Ragged:
        """Return the token ids of each text, behind the start token.

        Args:
            texts: sequence of str, or Arrow array of strings without nulls.
            pairs: Arrow array of str. Second texts, behind a separator; null where a text has none.
            max_length: int. Longer documents are truncated to it, a text and its pair each by what it is over its
                half; None keeps them whole.
        """
        documents = self._ids(_strings(texts))
        start = _constant(self.vocabulary.start, len(documents), documents.values.dtype)
        if pairs is None:
            lengths = None if max_length is None else np.minimum(documents.lengths, max_length - 1)
            return join(start, _truncated(documents, lengths))
        second = self._ids(_strings(pc.fill_null(pairs, "")))
        present = pc.is_valid(pairs).to_numpy(zero_copy_only=False)
        separator = _constant(self.vocabulary.separator, len(documents), documents.values.dtype, present)
        if max_length is not None:
            room = max_length - 1 - present
            half = room - np.minimum(second.lengths, room // 2)
            documents = _truncated(documents, np.minimum(documents.lengths, half))
            second = _truncated(second, np.minimum(second.lengths, room - documents.lengths))
        return join(start, documents, separator, second)

    def _ids(self, texts: pa.Array) -> Ragged:
        if len(texts) <= self.whole_up_to or self._words is None:
            return _encode_whole(self.tokenizer, texts.to_pylist(), self.vocabulary.dtype)
        parts = [self._by_words(self._words, piece) for piece in pieces(texts)]
        return concatenate(parts) if parts else _encode_whole(self.tokenizer, [], self.vocabulary.dtype)

    def _by_words(self, tokenizer: _WordTokenizer, texts: pa.Array) -> Ragged:
        words = tokenizer.split(texts)
        distinct = words.values.dictionary_encode()
        encoded = tokenizer.encode(distinct.dictionary, self.vocabulary.dtype)
        fast = encoded.take(distinct.indices.to_numpy())
        result = Ragged(fast.values, fast.offsets[words.offsets])
        odd = tokenizer.odd(distinct.dictionary)
        if not odd.any():
            return result
        counts = np.concatenate([[0], np.cumsum(odd[distinct.indices.to_numpy()])])
        whole = np.flatnonzero(np.diff(counts[words.offsets]))
        return _replaced(
            result, whole, _encode_whole(self.tokenizer, texts.take(whole).to_pylist(), result.values.dtype)
        )


class _Words:
    """Texts cut into words: `values` are strings, `offsets` (texts + 1,) tells which are whose."""

    def __init__(self, values: pa.Array, offsets: np.ndarray) -> None:
        self.values = values
        self.offsets = offsets


class _WordTokenizer:
    """A tokenizer that may be given one word at a time, with the white space before it.

    Args:
        tokenizer: Tokenizer. As the given one, without what it does at the beginning and end of a text.
        spaces: bytes. The characters before which a text may be cut.
        strips: bool. Does the whole tokenizer drop white space around a text?
        prefix: str. What it puts before a text that does not begin with it or a blank; empty for nothing.
    """

    def __init__(self, tokenizer: Tokenizer, spaces: bytes, strips: bool, prefix: str) -> None:
        self.tokenizer = tokenizer
        self.strips = strips
        self.prefix = prefix
        self.numbers: dict[str, int] = {}
        self.known: Ragged | None = None
        self.is_space = np.zeros(256, bool)
        self.is_space[list(spaces)] = True

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> _WordTokenizer | None:
        """Return the word tokenizer, or None when this one may look across words."""
        parts: dict[str, Any] = json.loads(tokenizer.to_str())
        normalizers = _flat(parts["normalizer"], "normalizers")
        pre_tokenizers = _flat(parts["pre_tokenizer"], "pretokenizers")
        if any(part["type"] not in LOCAL_NORMALIZERS for part in normalizers) or len(pre_tokenizers) != 1:
            return None
        (splitter,) = pre_tokenizers
        strips = any(part["type"] == "Strip" and part["strip_left"] and part["strip_right"] for part in normalizers)
        if splitter["type"] == "ByteLevel" and splitter["use_regex"]:
            spaces, prefix = ASCII_SPACE, " " if splitter["add_prefix_space"] else ""
            splitter["add_prefix_space"] = False
        elif splitter["type"] == "Metaspace" and splitter["split"] and splitter["prepend_scheme"] != "first":
            spaces, prefix = b" ", WORD_MARK if splitter["prepend_scheme"] == "always" else ""
            splitter["prepend_scheme"] = "never"
        elif splitter["type"] in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit"):
            spaces, prefix = ASCII_SPACE, ""
        else:
            return None
        parts["pre_tokenizer"] = splitter
        kept = [part for part in normalizers if part["type"] != "Strip"]
        parts["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
        parts["post_processor"] = None
        alone = Tokenizer.from_str(json.dumps(parts))
        alone.encode_special_tokens = tokenizer.encode_special_tokens
        return cls(alone, spaces, strips, prefix)

    def split(self, texts: pa.Array) -> _Words:
        """Cut texts before the white space that stands before a word."""
        if self.strips:
            texts = pc.utf8_trim(texts, WHITE_SPACE)
        if self.prefix:
            opened = pc.or_(pc.starts_with(texts, " "), pc.starts_with(texts, self.prefix))
            bare = pc.invert(pc.or_(opened, pc.equal(texts, "")))
            texts = pc.if_else(bare, pc.binary_join_element_wise("", texts, " "), texts)
        _, raw_offsets, data = texts.buffers()
        ends = np.frombuffer(raw_offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
        values = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if data else np.empty(0, np.uint8)
        space = self.is_space[values]
        cut = np.zeros(len(values) + 1, bool)
        cut[1:-1] = space[1:] & ~space[:-1]
        starts = ends - ends[0]
        cut[starts] = True  # ends of texts too, so that every text begins and ends at a cut
        cuts = np.flatnonzero(cut).astype(np.int32)
        first = np.searchsorted(cuts, starts)
        offsets = pa.py_buffer(cuts + ends[0])
        return _Words(pa.StringArray.from_buffers(len(cuts) - 1, offsets, data), first)

    def encode(self, words: pa.Array, dtype: Any) -> Ragged:
        """Return the ids of each word; those of an earlier block are remembered."""
        wanted = words.to_pylist()
        if len(self.numbers) + len(wanted) > MOST_WORDS:
            self.numbers, self.known = {}, None
        new = [word for word in wanted if word not in self.numbers]
        if new or self.known is None:
            self.numbers |= zip(new, range(len(self.numbers), len(self.numbers) + len(new)), strict=True)
            encoded = _encode_whole(self.tokenizer, new, dtype)
            self.known = encoded if self.known is None else concatenate([self.known, encoded])
        return self.known.take(np.fromiter(map(self.numbers.__getitem__, wanted), np.int64, len(wanted)))

    def odd(self, words: pa.Array) -> np.ndarray:
        """Return which words must not be encoded alone, (words,) bool: their normal form gains or loses white space."""
        odd = np.zeros(len(words), bool)
        normalizer = self.tokenizer.normalizer
        if normalizer is None:
            return odd
        foreign = pc.invert(pc.string_is_ascii(words)).to_numpy(zero_copy_only=False)
        for number in np.flatnonzero(foreign):
            word = words[int(number)].as_py()
            odd[number] = _gaps(normalizer.normalize_str(word)) != _gaps(word)
        return odd


def _gaps(word: str) -> tuple[int, bool, bool]:
    """Return how much white space a word has, and whether it begins or ends with some."""
    return sum(map(str.isspace, word)), word[:1].isspace(), word[-1:].isspace()


def _encode_whole(tokenizer: Tokenizer, texts: list[str], dtype: Any) -> Ragged:
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ids = [encoding.ids for encoding in encodings]
    offsets = np.concatenate([[0], np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))]).astype(np.int64)
    return Ragged(np.fromiter(chain.from_iterable(ids), dtype, offsets[-1]), offsets)


def _replaced(documents: Ragged, numbers: np.ndarray, others: Ragged) -> Ragged:
    """Return the documents with those of these numbers replaced by others, in order."""
    both = concatenate([documents, others])
    order = np.arange(len(documents))
    order[numbers] = len(documents) + np.arange(len(numbers))
    return both.take(order)


def _truncated(documents: Ragged, lengths: np.ndarray | None) -> Ragged:
    return documents if lengths is None else documents.slices(documents.offsets[:-1], lengths)


def _constant(token: int, count: int, dtype: Any, present: np.ndarray | None = None) -> Ragged:
    """Return a sequence of this one token per document, or an empty one where it is not present."""
    lengths = np.ones(count, np.int64) if present is None else present.astype(np.int64)
    return Ragged(np.full(int(lengths.sum()), token, dtype), np.concatenate([[0], np.cumsum(lengths)]))


def _strings(texts: Sequence[str] | pa.Array) -> pa.Array:
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    return texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())


def _flat(part: Any, key: str) -> list[dict[str, Any]]:
    """Return a part of the tokenizer's file, and of the sequences in it, as a list."""
    if part is None:
        return []
    return [inner for entry in part[key] for inner in _flat(entry, key)] if part["type"] == "Sequence" else [part]
