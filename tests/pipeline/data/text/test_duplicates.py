"""Equal texts have equal keys, alike ones agree in a band, and what stays is what the rules say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_cases import any_texts, quick, strings

from pipeline.config import NearDuplicates
from pipeline.data.text.duplicates import band_keys, choose_bands, clusters, first_of_equal, keys
from pipeline.data.text.words import normalise

ranked = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=20)
columns = st.integers(0, 12).flatmap(
    lambda texts: st.tuples(
        st.lists(st.lists(st.integers(0, 6), min_size=texts, max_size=texts), min_size=1, max_size=3),
        st.lists(st.booleans(), min_size=texts, max_size=texts),
        st.lists(st.integers(0, 2), min_size=texts, max_size=texts),
    )
)


@quick
@given(any_texts)
def test_keys_are_equal_where_the_normal_forms_are(values) -> None:
    normal = normalise(strings(values))
    found = [tuple(key) for key in keys(normal).tolist()]
    assert len(set(zip(found, normal.to_pylist(), strict=True))) == len(set(found)) == len(set(normal.to_pylist()))


def test_keys_are_fixed_for_good() -> None:
    # Keys of one version are compared with those of another: a resumed run must find the same duplicates.
    assert keys(strings(["blood pressure"])).tolist() == [[10885115212215794144, 17953342988862962391]]


@quick
@given(ranked)
def test_of_equal_rows_the_highest_rank_stays_and_then_the_earliest(rows) -> None:
    values = np.array([value for value, _ in rows], np.uint64)
    rank = np.array([rank for _, rank in rows], np.int8)
    kept = first_of_equal(np.stack([values // 2, values % 2], axis=1).reshape(-1, 2), rank)
    expected = {
        min((-rank, place) for place, (other, rank) in enumerate(rows) if other == value)[1] for value, _ in rows
    }
    assert set(np.flatnonzero(kept)) == expected


@quick
@given(columns)
def test_clusters_are_chains_of_equal_bands(case) -> None:
    bands, taking, rank = case
    texts = len(taking)
    cluster = {text: {text} for text in range(texts)}
    for band in bands:
        for one in range(texts):
            for other in range(texts):
                if band[one] == band[other] and taking[one] and taking[other]:
                    joined = cluster[one] | cluster[other]
                    for text in joined:
                        cluster[text] = joined
    standing = clusters(
        (np.array(band, np.uint64) for band in bands), np.array(taking, bool), np.array(rank, np.int8)
    ).tolist()
    assert standing == [min(cluster[text], key=lambda place: (-rank[place], place)) for text in range(texts)]


@quick
@given(columns)
def test_a_second_pass_removes_nothing(case) -> None:
    bands, taking, rank = (np.array(part) for part in case)
    kept = clusters(bands, taking.astype(bool), rank) == np.arange(len(taking))
    again = clusters(bands[:, kept], taking[kept].astype(bool), rank[kept])
    assert again.tolist() == list(range(kept.sum()))


WORDS = [f"word{number}" for number in range(60)]


def near(values: list[str], config: NearDuplicates = NearDuplicates()) -> list[int]:  # noqa: B008
    found, long = band_keys(normalise(strings(values)), config)
    return clusters(found.T, long, np.zeros(len(values), np.int8)).tolist()


def test_a_text_with_one_word_changed_goes() -> None:
    changed = [*WORDS[:-1], "other"]
    other = [f"thing{number}" for number in range(60)]
    assert near([" ".join(words) for words in (WORDS, other, changed, [*WORDS, "more"])]) == [0, 1, 0, 0]


def test_another_case_and_spacing_is_the_same_text() -> None:
    assert near([" ".join(WORDS), "  ".join(WORDS).upper()]) == [0, 0]


def test_texts_without_blanks_take_part() -> None:
    sentence = "血圧測定値高血糖検査結果異常所見認定患者年齢性別体重身長既往歴家族構成喫煙飲酒運動習慣"
    assert near([sentence, sentence + "等", "心臓超音波検査左室駆出率低下認定弁膜症疑者紹介状作成済"]) == [0, 0, 2]


def test_texts_below_the_ngram_are_left_alone() -> None:
    assert near(["one two three four"] * 2 + ["one two three four five"] * 2) == [0, 1, 2, 2]


@pytest.mark.parametrize("empty", [[], [""], ["", "a"]])
def test_nothing_to_compare(empty) -> None:
    found, long = band_keys(strings(empty), NearDuplicates())
    assert found.shape == (len(empty), 9)
    assert not long.any()
    assert near(empty) == list(range(len(empty)))


@pytest.mark.parametrize(("threshold", "hashes"), [(0.5, 16), (0.7, 128), (0.8, 128), (0.9, 256)])
def test_bands_turn_from_unlikely_to_likely_around_the_threshold(threshold, hashes) -> None:
    bands, rows = choose_bands(threshold, hashes)
    assert bands * rows <= hashes
    below, above = (1 - (1 - similarity**rows) ** bands for similarity in (threshold - 0.3, threshold + 0.095))
    assert below < 0.2 < 0.6 < above


def test_the_curve_of_the_docstring() -> None:
    bands, rows = choose_bands(0.8, 128)
    assert (bands, rows) == (9, 13)
    curve = [round(1 - (1 - similarity**rows) ** bands, 2) for similarity in (0.6, 0.7, 0.8, 0.9)]
    assert curve == [0.01, 0.08, 0.4, 0.93]


def test_agreement_is_as_likely_as_the_curve_says() -> None:
    config = NearDuplicates(ngram=1)
    texts = [
        " ".join([f"w{pair}x{n}" for n in range(90)] + [f"v{pair}x{side}y{n}" for n in range(5)])
        for pair in range(400)
        for side in range(2)
    ]
    found, _ = band_keys(strings(texts), config)
    agree = (found[0::2] == found[1::2]).any(axis=1).mean()
    assert agree == pytest.approx(1 - (1 - 0.9**13) ** 9, abs=0.05)  # similarity 90 / 100
