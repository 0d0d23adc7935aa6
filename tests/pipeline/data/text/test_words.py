"""Normal form, words and n-grams are what plain Python says they are."""

import re
import subprocess
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_cases import any_texts, quick, sentences, strings

from pipeline.data.text.arrays import change, pieces
from pipeline.data.text.words import count_words, growing_ngrams, hash_words, ngrams, normalise, space_out


def naive_normal(text: str | None) -> str:
    return " ".join(unicodedata.normalize("NFKD", text or "").lower().split())


def naive_words(text: str) -> list[str]:
    return re.sub("([漢字])", r" \1 ", text).split()


@quick
@given(any_texts)
def test_the_normal_form_is_what_python_makes_of_a_text(values) -> None:
    assert normalise(strings(values)).to_pylist() == [naive_normal(value) for value in values]


@quick
@given(any_texts, st.booleans())
def test_a_normal_form_is_its_own(values, lowercase) -> None:
    once = normalise(strings(values), lowercase)
    assert normalise(once, lowercase).equals(once)
    assert space_out(space_out(once)).equals(space_out(once))


def test_composed_and_decomposed_characters_are_one() -> None:
    same = normalise(strings(["Café", "cafe\u0301", "ｃａｆé", " CAFÉ\n"])).to_pylist()
    assert len(set(same)) == 1


def test_case_counts_where_it_should() -> None:
    assert normalise(strings(["Ab  C"]), lowercase=False).to_pylist() == ["Ab C"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("one two", ["one", "two"]),
        ("血圧が高い", ["血", "圧", "が", "高", "い"]),
        ("ガス", ["ガ", "ス"]),
        ("ไข้", ["ไ", "ข้"]),
        ("grade 3 血圧 high", ["grade", "3", "血", "圧", "high"]),
        ("혈압이 높다", ["혈압이", "높다"]),
    ],
)
def test_words(text, words) -> None:
    normal = normalise(strings([text]))
    spaced = space_out(normal)
    assert spaced.to_pylist() == [unicodedata.normalize("NFKD", " ".join(words))]
    assert count_words(spaced).tolist() == [len(words)]
    assert hash_words(normal).counts.tolist() == [len(words)]


@quick
@given(st.lists(sentences), st.lists(sentences))
def test_equal_words_have_equal_hashes_wherever_they_stand(before, after) -> None:
    words = [word for text in after for word in naive_words(text)]
    alone = hash_words(strings(after))
    beside = hash_words(strings([*before, *after]))
    assert np.array_equal(beside.hashes[beside.offsets[len(before)] :], alone.hashes)
    assert len(set(zip(words, alone.hashes.tolist(), strict=True))) == len(set(words)) == len(set(alone.hashes))


@quick
@given(st.lists(sentences, max_size=6), st.integers(1, 6))
def test_ngrams_are_those_of_plain_python(values, n) -> None:
    hashes, owners = ngrams(hash_words(strings(values)), n)
    found = [
        (owner, tuple(words[start : start + n]))
        for owner, words in enumerate(map(naive_words, values))
        for start in range(len(words) - n + 1)
    ]
    assert owners.tolist() == [owner for owner, _ in found]
    assert len(set(hashes.tolist())) == len({gram for _, gram in found})
    assert len(set(zip(hashes.tolist(), (gram for _, gram in found), strict=True))) == len(set(hashes.tolist()))


def test_the_order_of_words_counts() -> None:
    hashes, _ = ngrams(hash_words(strings(["a b a", "b a b", "a a b"])), 3)
    assert len(set(hashes.tolist())) == 3


def test_growing_ngrams_of_no_words() -> None:
    assert [inside.tolist() for _, _, inside in growing_ngrams(hash_words(strings(["", None])), 3)] == [[], [], []]


def test_hashes_are_the_same_in_another_process_and_for_good() -> None:
    # Evaluation n-grams and keys are written to disk, and read by a later version.
    code = (
        "import pyarrow as pa; from pipeline.data.text.words import hash_words, ngrams; "
        "w = hash_words(pa.array(['blood pressure', 'é 漢字'])); print(w.hashes.tolist(), ngrams(w, 2)[0].tolist())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.startswith(b"[4758043438739478331, 13401996870792457623, ")


@quick
@given(st.lists(st.none() | st.text("aé漢", max_size=8), min_size=1), st.integers(1, 30))
def test_pieces_lose_nothing(values, size) -> None:
    texts = strings(values)
    parts = list(pieces(texts, size))
    assert [value for part in parts for value in part.to_pylist()] == values
    sizes = [[len((value or "").encode()) for value in part.to_pylist()] for part in parts]
    assert all(sum(part) <= size or sum(part[:-1]) == 0 or len(part) == 1 for part in sizes)


def test_change_touches_only_what_it_should() -> None:
    texts, mask = strings(["a", None, "b", "c"]), pa.array([True, False, None, True])
    assert change(texts, mask, pc.utf8_upper).to_pylist() == ["A", None, "b", "C"]
    assert change(texts, pc.is_in(texts, strings(["z"])), pc.utf8_upper).equals(texts)
