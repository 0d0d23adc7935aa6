"""Long texts in windows: nothing of them is lost, and a text that fits is read as ever."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Tokenizer
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.tokenizer import make_tokenizer
from pipeline.data.tokens.windows import windows

LONG = " ".join(f"word{number}" for number in range(40))
TEXTS = ["rain", LONG, "wind in the willows", LONG + " the end"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(make_tokenizer(TEXTS * 5, Tokenizer(vocabulary_size=300)))


@pytest.mark.parametrize("length", [8, 13, 64])
def test_windows_are_equally_long_and_hold_every_token_in_order(encoder, length) -> None:
    seen, whole = windows(encoder, pa.array(TEXTS), None, length), encoder.encode(TEXTS)
    for owner, text in enumerate(whole):
        parts = [seen.documents[place] for place in np.flatnonzero(seen.owners == owner)]
        body = text[1:]
        assert len(parts) == max(1, -(-len(body) // (length - 1)))
        assert {len(part) for part in parts} == {min(len(text), length)}
        at = 0
        for part in parts:
            assert part[0] == encoder.vocabulary.start
            step = len(part) - 1
            begin = next(start for start in range(at, -1, -1) if np.array_equal(body[start : start + step], part[1:]))
            at = begin + step
        assert at == len(body), "the last window ends with the text"


def test_texts_that_fit_are_encoded_as_ever(encoder) -> None:
    texts, pairs = pa.array(TEXTS), pa.array(["of spring", None, "and", "x"])
    for second in (None, pairs):
        seen = windows(encoder, texts, second, 500)
        assert seen.owners.tolist() == [0, 1, 2, 3]
        expected = encoder.encode(texts, second, 500)
        np.testing.assert_array_equal(seen.documents.offsets, expected.offsets)
        np.testing.assert_array_equal(seen.documents.values, expected.values)


def test_the_second_text_is_in_every_window_up_to_half_of_it(encoder) -> None:
    pairs = pa.array(["so it was", LONG])
    seen = windows(encoder, pa.array([LONG, LONG]), pairs, 16)
    assert (seen.documents.lengths == 16).all()
    for place, owner in enumerate(seen.owners):
        document = seen.documents[place]
        (separator,) = np.flatnonzero(document == encoder.vocabulary.separator)
        second = encoder.encode([pairs[int(owner)].as_py()])[0][1:]
        kept = document[separator + 1 :]
        assert len(kept) == min(len(second), 7)
        np.testing.assert_array_equal(kept, second[: len(kept)])
