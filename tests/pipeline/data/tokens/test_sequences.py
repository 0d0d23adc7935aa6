"""Sources and targets as one sequence, and finding the target in it again."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Tokenizer
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.packing import pack
from pipeline.data.tokens.sequences import SequenceEncoder, answers_in
from pipeline.data.tokens.tokenizer import make_tokenizer

TEXTS = ["the sun and the sea", "a day"]
TARGETS = ["die Sonne und das Meer", "ein Tag"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    tokenizer = make_tokenizer([*TEXTS, *TARGETS], Tokenizer(vocabulary_size=330, lowercase=False))
    return TextEncoder(tokenizer)


def spelled(encoder: TextEncoder, tokens) -> str:
    names = {encoder.vocabulary.start: "<", encoder.vocabulary.separator: "|"}
    return "".join(names.get(int(token)) or encoder.tokenizer.decode([int(token)]) for token in tokens)


def test_a_sequence_is_source_separator_target_end(encoder) -> None:
    documents, cut_off = SequenceEncoder(encoder).sequences(pa.array(TEXTS), None, pa.array(TARGETS), 64)
    assert [spelled(encoder, document) for document in documents] == [
        "< the sun and the sea| die Sonne und das Meer|",
        "< a day| ein Tag|",
    ]
    assert cut_off == (0, 0)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (None, "< a day| night| ein Tag|"),
        ("Say: {text}", "< Say: a day| night| ein Tag|"),
        ("{text}, not {text_pair}", "< a day, not night| ein Tag|"),
    ],
)
def test_a_prompt_takes_the_texts_it_names(encoder, prompt, expected) -> None:
    texts, pairs, targets = (pa.array([text]) for text in ("a day", "night", "ein Tag"))
    (document,) = SequenceEncoder(encoder, prompt).sequences(texts, pairs, targets, 64)[0]
    assert spelled(encoder, document) == expected


def test_what_is_learned_begins_with_what_is_asked(encoder) -> None:
    for prompt, pairs in ((None, None), ("Say: {text}", pa.array(["night", None]))):
        sequences = SequenceEncoder(encoder, prompt)
        asked = sequences.prompts(pa.array(TEXTS), pairs, 62)
        for whole, start in zip(
            sequences.sequences(pa.array(TEXTS), pairs, pa.array(TARGETS), 64)[0], asked, strict=True
        ):
            np.testing.assert_array_equal(whole[: len(start)], start)


@pytest.mark.parametrize("length", [8, 12, 13, 20, 31])
@pytest.mark.parametrize(("source", "target"), [(40, 3), (3, 40), (40, 40), (5, 5), (1, 1)])
def test_what_is_too_long_is_cut_off_and_a_cut_target_has_no_end(encoder, length, source, target) -> None:
    texts, targets = pa.array(["a" * source]), pa.array(["b" * target])
    sequences = SequenceEncoder(encoder)
    whole = sequences.sequences(texts, None, targets, 1000)[0]
    documents, cut_off = sequences.sequences(texts, None, targets, length)
    document, separator = documents[0], encoder.vocabulary.separator
    assert len(document) <= length
    assert len(document) == min(length, len(whole[0]))
    breaks = np.flatnonzero(document == separator)
    written = sequences.targets(targets)[0]
    kept = document[breaks[0] + 1 :]
    if cut_off[1]:
        assert len(breaks) == 1
        assert len(kept) >= length // 2
        np.testing.assert_array_equal(kept, written[: len(kept)])
    else:
        np.testing.assert_array_equal(kept, [*written, separator])
    assert cut_off[0] == (breaks[0] < np.flatnonzero(whole[0] == separator)[0])


def test_targets_are_found_in_packed_rows_whatever_is_beside_them(encoder) -> None:
    sequences, separator = SequenceEncoder(encoder), encoder.vocabulary.separator
    chance = np.random.default_rng(0)
    texts = pa.array(["a" * int(n) for n in chance.integers(1, 30, 50)])
    pairs = pa.array([None if n % 2 else "c" * n for n in range(50)], pa.string())
    targets = pa.array(["b" * int(n) for n in chance.integers(1, 30, 50)])
    documents, _ = sequences.sequences(texts, pairs, targets, 24)
    packed = pack(documents, 24, seed=0, pad=encoder.vocabulary.pad)
    found = answers_in(packed.token_ids, packed.segment_ids, separator)
    assert not found[packed.segment_ids == 0].any()
    for row, owners in enumerate(packed.documents):
        for segment, owner in enumerate(owners[owners >= 0]):
            document = documents[owner]
            ending = document[-1] == separator
            start = np.flatnonzero(document[: len(document) - ending] == separator)[-1] + 1
            expected = np.arange(len(document)) >= start
            np.testing.assert_array_equal(found[row][packed.segment_ids[row] == segment + 1], expected)


def test_a_tokenizer_with_one_token_for_all_ends_is_understood() -> None:
    end = 9  # start, separator and end of GPT-2's
    tokens = np.array([[9, 1, 2, 9, 3, 4, 9, 9, 5, 9, 6, 9, 0, 0]])
    segments = np.array([[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0]])
    assert tokens[answers_in(tokens, segments, end)].tolist() == [3, 4, 9, 6, 9]


def test_the_corpus_holds_both_sides_where_there_are_two(encoder) -> None:
    sequences = SequenceEncoder(encoder)
    documents = sequences.behind(encoder.encode(TEXTS), pa.array([TARGETS[0], None]))
    assert [spelled(encoder, one) for one in documents] == ["< the sun and the sea| die Sonne und das Meer", "< a day"]
