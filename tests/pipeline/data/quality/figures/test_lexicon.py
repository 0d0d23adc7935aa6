import numpy as np
import pyarrow as pa
import pytest

from pipeline.data.quality.figures import words
from pipeline.data.quality.figures.words import Vocabulary, split_words


def everything(texts):
    return np.ones(len(texts), bool)


def count(texts, tmp_path, *, held=None, fold=None):
    vocabulary = Vocabulary(tmp_path / "words")
    for start in range(0, len(texts), 2):
        piece = texts[start : start + 2]
        vocabulary.add(
            split_words(pa.array(piece)),
            everything(piece),
            np.array(held[start : start + 2]) if held else np.zeros(len(piece), bool),
            np.array(fold[start : start + 2]) if fold else np.zeros(len(piece), np.int64),
        )
    return vocabulary.lexicon()


def test_words_lose_case_and_the_punctuation_around_them():
    found = split_words(pa.array(['"The end," she said - THE end!', "", "  don't\tstop  "]))
    assert found.words == ["the", "end", "she", "said", "don't", "stop"]
    assert found.times(np.array([True, False, True])).tolist() == [2, 2, 1, 1, 1, 1]
    assert found.counts.tolist() == [7, 0, 2]  # the lone hyphen is no word


def test_lexicon_counts_over_chunks(tmp_path):
    lexicon = count(["a b", "a c", "d a"], tmp_path)
    assert (lexicon.distinct, lexicon.words) == (4, 6)
    assert lexicon.top == {"a": 3, "b": 1, "c": 1, "d": 1}
    assert lexicon.known[0, 1] == 3


def test_out_of_vocabulary_is_the_share_of_held_out_words_that_the_rest_has_not(tmp_path):
    assert count(["a b", "a c c", "b d"], tmp_path, held=[False, True, False]).out_of_vocabulary == pytest.approx(2 / 3)


def test_without_given_splits_a_word_of_one_tenth_only_is_unknown_to_the_others(tmp_path):
    lexicon = count(["a b", "a b", "c c"], tmp_path, fold=[0, 1, 2])
    assert lexicon.out_of_vocabulary == lexicon.expected_unknown == pytest.approx(2 / 6)


def test_a_word_beyond_the_known_ones_counts_as_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "KNOWN", 1)
    assert count(["a b", "a b", "a c"], tmp_path, fold=[0, 1, 2]).expected_unknown == pytest.approx(3 / 6)


def test_the_commonest_words_survive_when_too_many_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "NAMED", 4)
    texts = [f"the one{number} of two{number}" for number in range(20)]
    assert dict(list(count(texts, tmp_path).top.items())[:2]) == {"of": 20, "the": 20}
