"""Encoding word by word gives what the tokenizer gives, to the last token."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from pipeline.config import Tokenizer as Config
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.ragged import Ragged, join
from pipeline.data.tokens.tokenizer import make_tokenizer
from pipeline.data.tokens.vocabulary import add_missing_roles

TEXTS = [f"the {a}, {b} and 'tis {c}'s x{a}{b}\n- {c}" for a in "abcd" for b in ("left", "right") for c in ("éß", "12")]
# What real text and hostile text consist of: words, gaps of every kind, marks that compose with what is before them.
PIECES = st.sampled_from(
    ["a", "The", "left", "'s", "12", ",", ".", "é", "ß", "Σ", "肺炎", "ﬁ", "[MASK]", "▁", "Ġ", "##", "\u0301", "\u00b4",
     "\u200b", "\ufb01x", "\u1e9b\u0323", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x0b", "\x1c",
     "\x85", "\0", "😀"]
)  # fmt: skip
texts = st.one_of(st.lists(PIECES, max_size=20).map("".join), st.text(max_size=20))


def byte_level(**options) -> Tokenizer:
    tokenizer = make_tokenizer(TEXTS, Config(vocabulary_size=400))
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(**options)
    return tokenizer


def metaspace(**options) -> Tokenizer:
    tokenizer = make_tokenizer(TEXTS, Config(kind="unigram", vocabulary_size=300))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(**options)
    return tokenizer


MADE = {kind: make_tokenizer(TEXTS, Config(kind=kind, vocabulary_size=300)) for kind in ("bpe", "wordpiece", "unigram")}
GIVEN = {
    "byte-level without prefix": byte_level(add_prefix_space=False),
    "byte-level that strips nothing": byte_level(add_prefix_space=True),
    "metaspace without prefix": metaspace(prepend_scheme="never"),
    "metaspace with prefix": metaspace(prepend_scheme="always"),
}
ALL = MADE | GIVEN


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=250)
@given(st.lists(texts, min_size=1, max_size=6))
@example(
    [
        " leading",
        "trailing ",
        "two  gaps",
        "",
        " ",
        "\n",
        "a\n\nb",
        "\u00b4 x",
        "x\u00a0y",
        "a \u0301b",
        "▁ a",
        "\x1c a",
    ]
)
def test_every_text_gets_the_tokens_of_the_tokenizer(name, batch) -> None:
    tokenizer = ALL[name]
    encoder = TextEncoder(tokenizer)
    found = encoder.encode(batch)
    expected = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
    assert [part.tolist() for part in found] == [[encoder.vocabulary.start, *one.ids] for one in expected]
    assert found.values.dtype == np.uint16


def test_real_texts_go_word_by_word() -> None:
    """Were the short way never taken, every other test here would pass too."""
    for name, tokenizer in ALL.items():
        encoder = TextEncoder(tokenizer)
        asked: list[str] = []

        class Watched:
            encode_batch_fast = staticmethod(lambda texts, add_special_tokens, asked=asked: asked.extend(texts))

        encoder.encode(TEXTS)  # makes the short way
        encoder.tokenizer = Watched()
        encoder.encode(TEXTS * 3)
        assert not asked, name


def test_few_texts_are_encoded_whole_to_the_same_tokens() -> None:
    for name, tokenizer in ALL.items():
        few = TextEncoder(tokenizer, whole_up_to=len(TEXTS))
        expected = TextEncoder(tokenizer).encode(TEXTS)
        assert few.encode(TEXTS).values.tolist() == expected.values.tolist(), name
        assert "_words" not in vars(few), "remembers the words of every question"
        assert few.encode(TEXTS * 2).values.tolist() == expected.values.tolist() * 2, name


@pytest.mark.parametrize(
    "pre_tokenizer",
    [
        pre_tokenizers.Split(Regex(r"\w+\W*"), "isolated"),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits()]),
        pre_tokenizers.ByteLevel(use_regex=False),
        pre_tokenizers.Metaspace(split=False),
        pre_tokenizers.Metaspace(prepend_scheme="first"),
    ],
)
def test_a_tokenizer_that_may_look_across_words_gets_whole_texts(pre_tokenizer) -> None:
    tokenizer = make_tokenizer(TEXTS, Config(vocabulary_size=400))
    tokenizer.pre_tokenizer = pre_tokenizer
    found = TextEncoder(tokenizer).encode(TEXTS)
    expected = tokenizer.encode_batch_fast(TEXTS, add_special_tokens=False)
    assert [part.tolist()[1:] for part in found] == [one.ids for one in expected]


def test_a_normalizer_that_may_join_words_gets_whole_texts() -> None:
    tokenizer = make_tokenizer(TEXTS, Config(vocabulary_size=400))
    tokenizer.normalizer = normalizers.Replace(" ", "")
    found = TextEncoder(tokenizer).encode(["the left", "theleft"])
    assert found[0].tolist() == found[1].tolist()


def test_truncation_keeps_the_beginning() -> None:
    encoder = TextEncoder(MADE["bpe"])
    whole, short = encoder.encode(TEXTS), encoder.encode(TEXTS, max_length=5)
    assert whole.lengths.max() > 5
    assert [part.tolist() for part in short] == [part[:5].tolist() for part in whole]


def test_a_pair_stands_behind_a_separator() -> None:
    encoder = TextEncoder(MADE["wordpiece"])
    (alone,), (second,) = encoder.encode(["the left"]), encoder.encode(["12 and"])
    both = encoder.encode(pa.array(["the left", "the left"]), pa.array(["12 and", None]))
    assert both[0].tolist() == [*alone, encoder.vocabulary.separator, *second[1:]]
    assert both[1].tolist() == alone.tolist()


@given(st.integers(0, 30), st.integers(0, 30), st.integers(3, 24))
def test_a_pair_too_long_loses_what_is_over_its_half(first, second, length) -> None:
    encoder = TextEncoder(MADE["wordpiece"])
    (found,) = encoder.encode(pa.array(["a " * first]), pa.array(["b " * second]), max_length=length)
    tokens = found.tolist()
    assert len(tokens) == min(length, first + second + 2)
    left = tokens.index(encoder.vocabulary.separator) - 1
    right = len(tokens) - left - 2
    assert left == first or left >= (length - 2) // 2
    assert right == second or right >= (length - 2) // 2


def test_a_large_vocabulary_gets_large_ids() -> None:
    words = {"<unk>": 0} | {f"w{number}": number for number in range(1, 70_000)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    add_missing_roles(tokenizer)
    found = TextEncoder(tokenizer).encode(["w69999 w1"])
    assert found.values.dtype == np.uint32
    assert found[0].tolist()[1:] == [69_999, 1]
    assert json.loads(tokenizer.to_str())["model"]["type"] == "WordLevel"


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6), st.data())
def test_ragged_arrays_are_lists_of_lists(lists, data) -> None:
    ragged = Ragged.of([np.array(part, np.uint16) for part in lists])
    assert [part.tolist() for part in ragged] == lists
    numbers = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8)) if lists else []
    taken = ragged.take(np.array(numbers, np.int64))
    assert [part.tolist() for part in taken] == [lists[number] for number in numbers]
    joined = join(ragged, ragged)
    assert [part.tolist() for part in joined] == [part + part for part in lists]
