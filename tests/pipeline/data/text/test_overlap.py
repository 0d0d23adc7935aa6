"""A text matches exactly when it holds an evaluation text, or n words in a row of one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from text_cases import quick, sentences, strings

from pipeline.data.text.overlap import EvaluationNgrams
from pipeline.data.text.words import normalise, space_out


def naive_matches(evaluation: list[str], texts: list[str], n: int) -> list[bool]:
    known = set()
    for words in map(str.split, evaluation):
        if len(words) >= 5:
            length = min(n, len(words))
            known |= {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}
    lengths = {len(gram) for gram in known}
    return [
        any(
            tuple(words[start : start + length]) in known
            for length in lengths
            for start in range(len(words) - length + 1)
        )
        for words in map(str.split, texts)
    ]


@quick
@given(st.lists(st.lists(sentences, max_size=4), max_size=3), st.lists(sentences, max_size=8), st.integers(5, 9))
def test_matches_are_those_of_plain_python(blocks, texts, n) -> None:
    normal = normalise(strings(texts))
    ngrams = EvaluationNgrams.of([normalise(strings(block)) for block in blocks], n)
    evaluation = space_out(normalise(strings([text for block in blocks for text in block]))).to_pylist()
    assert ngrams.matches(normal).tolist() == naive_matches(evaluation, space_out(normal).to_pylist(), n)


@quick
@given(st.lists(sentences, max_size=6), st.lists(sentences, max_size=6))
def test_a_saved_set_matches_the_same(tmp_path_factory, evaluation, texts) -> None:
    folder = tmp_path_factory.mktemp("ngrams") / "evaluation"
    ngrams = EvaluationNgrams.of([strings(evaluation)], 6)
    ngrams.save(folder)
    normal = strings(texts)
    assert np.array_equal(EvaluationNgrams.load(folder).matches(normal), ngrams.matches(normal))


def test_a_document_that_quotes_an_evaluation_text() -> None:
    question = "which code stands for cholera due to vibrio cholerae biovar eltor in this list of codes"
    words = question.split()
    evaluation = [question, "fever without a rash", "acute fever of no cause"]
    ngrams = EvaluationNgrams.of([normalise(strings(evaluation))], 13)
    texts = [
        f"As asked before: {question}?",
        f"As asked before: {question.upper()} , was it?",
        f"{' '.join(words[:12])} and something else in the place of the rest",
        "fever without a rash",
        "An acute   fever of no cause was seen",
        "",
    ]
    assert ngrams.matches(normalise(strings(texts))).tolist() == [True, True, False, False, True, False]


def test_matches_cross_no_text() -> None:
    ngrams = EvaluationNgrams.of([strings(["a b c d e f"])], 6)
    assert ngrams.matches(strings(["a b c", "d e f", "", "a b c d e f"])).tolist() == [False, False, False, True]


def test_many_hashes_are_told_apart() -> None:
    evaluation = [" ".join(f"e{text}x{word}" for word in range(30)) for text in range(300)]
    others = [" ".join(f"t{text}x{word}" for word in range(30)) for text in range(300)]
    ngrams = EvaluationNgrams.of([strings(evaluation)], 13)
    assert ngrams.matches(strings(evaluation)).all()
    assert not ngrams.matches(strings(others)).any()
