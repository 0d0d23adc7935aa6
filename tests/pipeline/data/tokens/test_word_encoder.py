"""Texts encoded word by word: the first piece of each word is known, and nothing is longer than a row."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Tokenizer
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.tokenizer import make_tokenizer
from pipeline.data.tokens.words import WordEncoder

TEXTS = ["the wind in the willows", "rain", "unbelievably longwinded words"]


@pytest.fixture(scope="module", params=["bpe", "wordpiece", "unigram"])
def encoder(request) -> TextEncoder:
    return TextEncoder(make_tokenizer(TEXTS * 20, Tokenizer(kind=request.param, vocabulary_size=300)))


def words(encoder, encoded) -> list[list[str]]:
    """Return the words that the pieces between the starts spell."""
    found = []
    for document, starts in zip(encoded.documents, encoded.starts, strict=True):
        parts = np.split(document, starts)[1:]
        found.append([encoder.tokenizer.decode(part.tolist()).strip() for part in parts])
    return found


def test_each_word_begins_where_it_is_said_to(encoder):
    encoded = WordEncoder(encoder).encode(pa.array(TEXTS), 64)
    assert words(encoder, encoded) == [text.split() for text in TEXTS]
    assert all(document[0] == encoder.vocabulary.start for document in encoded.documents)


def test_it_gives_the_tokens_of_the_whole_text(encoder):
    encoded, whole = WordEncoder(encoder).encode(pa.array(TEXTS), 64), encoder.encode(TEXTS)
    np.testing.assert_array_equal(encoded.documents.values, whole.values)


def test_long_texts_are_cut_between_words_and_in_windows_none_is_lost(encoder):
    texts = pa.array(["rain", "the wind in the willows in the rain", "", "wind"])
    windows = WordEncoder(encoder).windows(texts, 8)
    assert windows.documents.lengths.max() <= 8
    assert windows.owners.tolist()[0] == 0
    assert 2 in windows.owners
    again = [[] for _ in texts]
    for owner, own in zip(windows.owners, words(encoder, windows), strict=True):
        again[owner] += own
    assert again == [text.split() for text in texts.to_pylist()]
    first = WordEncoder(encoder).encode(texts, 8)
    assert first.owners.tolist() == [0, 1, 2, 3]
    assert words(encoder, first)[1] == words(encoder, windows)[windows.owners.tolist().index(1)]


def test_a_word_longer_than_a_row_keeps_what_fits(encoder):
    windows = WordEncoder(encoder).windows(pa.array(["a xqzxqzxqzxqzxqzxqz b"]), 8)
    assert windows.documents.lengths.max() <= 8
    assert windows.starts.lengths.sum() == 3


def test_a_word_of_which_nothing_is_left_still_has_a_piece(encoder):
    encoded = WordEncoder(encoder).encode(pa.array(["rain \u00ad wind"]), 16)
    assert encoded.starts.lengths.tolist() == [3]
    assert len(set(encoded.starts.values.tolist())) == 3
