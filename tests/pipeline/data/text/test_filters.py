"""Each rule drops what its definition says, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_cases import quick, sentences, strings

from pipeline.config import Filters
from pipeline.data.text.filters import RULES, dropped_by
from pipeline.errors import RecipeError

EVERY_RULE = Filters(
    min_words=3, max_words=12, max_mean_word_length=3, min_alphabetic_share=0.5, max_symbol_share=0.3,
    max_bullet_share=0.5, max_repeated_line_share=0.3, max_repeated_word_share=0.6,
)  # fmt: skip
documents = st.lists(
    st.lists(sentences | st.sampled_from(["- b", "", "#", "1 2", "...", "aaaaaaaa"]), max_size=4).map("\n".join),
    max_size=8,
)


@pytest.mark.parametrize(
    ("rule", "limit", "dropped", "kept"),
    [
        ("min_words", 3, ["", "two words", " two\n words ", "漢字"], ["three short words", "漢字だ"]),
        ("max_words", 3, ["one two three four", "漢字二つ"], ["one  two\nthree"]),
        ("max_mean_word_length", 4.0, ["abcde", "abcdefg ab"], ["abcd", "abcdef ab", "", "한국어말 하다", "éééé"]),
        ("min_alphabetic_share", 0.5, ["1 2 a", "12 %"], ["1 a", "血圧 12", "ж 5"]),
        ("max_symbol_share", 0.5, ["# # a", "a... b… c... d...", "##"], ["a # # b", "... a", "a... b"]),
        ("max_bullet_share", 0.5, ["- a\n• b\nc", " * a"], ["- a\nb", "-a\n-b", "\n\n", "-"]),
        ("max_repeated_line_share", 0.4, ["a\na", "a\n\n a\nb\nb"], ["a\nb\nb", "\n\n\n", "a b a b"]),
        ("max_repeated_word_share", 0.5, ["a a b", "a"], ["a b", "a b a c", ""]),
    ],
)
def test_a_rule(rule, limit, dropped, kept) -> None:
    found = dropped_by(strings([*dropped, *kept]), Filters(**{rule: limit}))
    assert found.to_pylist() == [rule] * len(dropped) + [None] * len(kept)


def naive(text: str) -> str | None:
    words = text.replace("漢字", " 漢 字 ").split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    most = max((words.count(word) for word in words), default=0)
    broken = {
        "min_words": len(words) < 3,
        "max_words": len(words) > 12,
        "max_mean_word_length": sum(map(len, words)) / (len(words) or 1) > 3,
        "min_alphabetic_share": sum(any(map(str.isalpha, word)) for word in words) / (len(words) or 1) < 0.5,
        "max_symbol_share": max(text.count("#"), text.count("...")) / (len(words) or 1) > 0.3,
        "max_bullet_share": sum(line.startswith("- ") for line in lines) / (len(lines) or 1) > 0.5,
        "max_repeated_line_share": (len(lines) - len(set(lines))) / (len(lines) or 1) > 0.3,
        "max_repeated_word_share": most / (len(words) or 1) > 0.6,
    }
    return next((name for name, drops in broken.items() if drops), None)


@quick
@given(documents)
def test_the_first_rule_that_drops_a_text_is_named(texts) -> None:
    assert dropped_by(strings(texts), EVERY_RULE).to_pylist() == [naive(text) for text in texts]


def test_a_share_at_the_limit_is_kept() -> None:
    # 0.7 * 10 is above 7.
    assert dropped_by(strings(["a b c d e f g 1 2 3"]), Filters(min_alphabetic_share=0.7)).to_pylist() == [None]


def test_every_rule_of_the_recipe_is_a_rule_here() -> None:
    assert [*RULES, "languages"] == list(Filters.model_fields)


def test_no_rule_drops_nothing() -> None:
    assert dropped_by(strings(["", None, "a"]), Filters()).to_pylist() == [None] * 3
    assert dropped_by(strings([]), EVERY_RULE).to_pylist() == []


def test_texts_in_another_language_go_and_doubtful_ones_stay() -> None:
    texts = [
        "The patient complains of a headache that began two days ago.",
        "Der Patient klagt seit zwei Tagen über starke Kopfschmerzen.",
        "患者は二日前から頭痛を訴えている。",
        "Cholera",
        "",
    ]
    found = dropped_by(strings(texts), Filters(languages=["en"])).to_pylist()
    assert found == [None, "languages", "languages", None, None]
    both = dropped_by(strings(texts), Filters(languages=["en", "de"], min_words=2)).to_pylist()
    assert both == [None, None, "languages", "min_words", "min_words"]


def test_an_unknown_language_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"names 'english'; .* en, "):
        dropped_by(strings(["a text"]), Filters(languages=["english"]))
