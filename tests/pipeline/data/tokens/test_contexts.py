"""Pieces of a context know their characters; long contexts go into overlapping windows."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Tokenizer
from pipeline.data.tokens.contexts import ContextEncoder, windows_of
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.tokenizer import make_tokenizer

TEXTS = [
    "The Straße in Köln — “ﬁne” ① naïve 日本語 \U0001f600 ok.  Two\t spaces\u00a0here",
    "Cafe\u0301 and r\u0301 the end",
    "",
]


@pytest.fixture(params=["bpe", "wordpiece", "unigram"])
def encoder(request):
    tokenizer = make_tokenizer(TEXTS * 5, Tokenizer(kind=request.param, vocabulary_size=330))
    return ContextEncoder(TextEncoder(tokenizer))


def ask(encoder, texts, length=128, question="which of the two"):
    return encoder.windows(pa.array(texts), pa.array([question] * len(texts)), length)


def test_documents_are_those_of_any_pair(encoder) -> None:
    windows = ask(encoder, TEXTS)
    whole = encoder.encoder.encode(pa.array(TEXTS), pa.array(["which of the two"] * 3), 128)
    for mine, other in zip(windows.documents, whole, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_every_word_is_found_again_letter_by_letter(encoder) -> None:
    windows = ask(encoder, TEXTS)
    for number, text in enumerate(TEXTS):
        for word in text.split():
            place = text.index(word)
            answers = [[(place, place + len(word))] if other == number else [] for other in range(3)]
            first, last = windows.targets(answers)[number]
            assert text[windows.begins[number][first - 1] : windows.ends[number][last - 1]] == word


def test_only_the_context_and_the_start_token_are_candidates(encoder) -> None:
    windows = ask(encoder, TEXTS)
    for number, candidates in enumerate(windows.candidates()):
        pieces = len(windows.begins[number])
        assert candidates.tolist() == [1] * (pieces + 1) + [0] * (len(windows.documents[number]) - pieces - 1)


@pytest.mark.parametrize(("pieces", "room"), [(0, 4), (4, 4), (5, 4), (100, 7), (9, 3)])
def test_windows_cover_everything_and_overlap(pieces, room) -> None:
    windows = windows_of(pieces, room)
    assert {piece for window in windows for piece in range(window.start, window.stop)} == set(range(pieces))
    assert all(window.stop - window.start <= room for window in windows)
    assert all(one.stop - other.start == room // 3 for one, other in pairwise(windows[:-1]))


def test_a_long_context_is_learned_window_by_window() -> None:
    words = [f"w{number}" for number in range(60)]
    text = " ".join(words)
    encoder = ContextEncoder(TextEncoder(make_tokenizer([text] * 3, Tokenizer(vocabulary_size=400))))
    windows = ask(encoder, [text, "w1 w2"], 24)
    assert windows.documents.lengths.max() <= 24
    assert windows.owners.tolist() == [0] * (len(windows.owners) - 1) + [1]
    begin, end = text.index("w30"), text.index("w31") + 3
    targets = windows.targets([[(0, len(text)), (begin, end)], []])  # the first is whole in no window
    holding = [number for number in range(len(targets)) if targets[number, 0] > 0]
    assert 1 <= len(holding) < len(targets) - 1
    for number in holding:
        first, last = targets[number] - 1
        assert (windows.begins[number][first], windows.ends[number][last]) == (begin, end)
    assert targets[[number for number in range(len(targets)) if number not in holding]].max() == 0


def test_an_answer_that_no_window_holds_teaches_nothing() -> None:
    text = " ".join(["rain and snow"] * 20)
    encoder = ContextEncoder(TextEncoder(make_tokenizer([text], Tokenizer(vocabulary_size=300))))
    targets = ask(encoder, [text, text], 24).targets([[(0, len(text))], []])
    assert set(map(tuple, targets.tolist())) == {(-1, -1), (0, 0)}
    assert (targets[0] == -1).all()
    assert (targets[-1] == 0).all()


def test_a_question_longer_than_half_of_a_document_is_cut() -> None:
    encoder = ContextEncoder(TextEncoder(make_tokenizer(["rain"], Tokenizer(vocabulary_size=300))))
    windows = ask(encoder, ["rain and snow"], 16, question="why " * 50)
    assert (windows.documents.lengths <= 16).all()
    assert windows.begins.lengths.max() == 7
