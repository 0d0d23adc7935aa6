# ruff: noqa: RUF001 (characters that look alike are what this is about)
"""Damage is undone, sound text is left alone, and cleaning twice is cleaning once."""

import ftfy
import pyarrow.compute as pc
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from text_cases import characters, quick, strings

from pipeline.config import Clean
from pipeline.data.text.repair import _suspicious, clean, remove_lines, repair

EVERYTHING = Clean(
    boilerplate=["^Page [0-9]+$", "(?i)cookie", "^\\s*a\\s*$"],
    redact=["email", "phone", "ip_address", "credit_card", "iban", "us_ssn", "url"],
)
mojibake = st.sampled_from([c for part in MOJIBAKE_CATEGORIES.values() for c in part] + list("aZ .ГўВЂ×²√±à²β€ā"))
SNIPPETS = [
    "a@b.org", "Page 7", "cookie", "&amp;", "&lt;", "<", "\r", "\n", "\x00", "\u200b", "\u00ad", "Ã©", "Â", "é", "x",
    "10.20.30.40", "1.2.3.4", "415-555-2671", "+49 30 901820", "4111111111111111", "https://a.b/c", "www.", " ",
    "123-45-6789",
]  # fmt: skip
messy = st.lists(st.sampled_from(SNIPPETS) | st.text(characters, max_size=3), max_size=8).map("".join)


@pytest.mark.parametrize(
    ("damaged", "sound"),
    [
        ("schÃ¶n", "schön"),
        ("the cafÃ© isnâ€™t open", "the café isn’t open"),
        ("æ–‡å\u00ad—", "文字"),
        ("AT&amp;T", "AT&T"),
        ("&amp;amp;", "&"),
        ("x\x00\x1b[31my\x1b[0m", "xy"),
        ("one\r\ntwo\u2028three", "one\ntwo\nthree"),
        ("\ufeffso\u00adft\u2060ly", "softly"),
        ("zero\u200b width", "zero width"),
    ],
)
def test_damage_is_undone(damaged, sound) -> None:
    assert repair(strings(["before", damaged, None])).to_pylist() == ["before", sound, None]


@pytest.mark.parametrize(
    "text",
    [
        "« L’été, à l’œuvre », dit-il : “ça” — Noël à Besançon…",
        "„Über die Größe“ (§ 5): 20 °C ± 2, 3 × 4 = 12 ½",
        "a < b &amp; c",
        "ﬁne, ｆｕｌｌ, cafe\u0301",
        "ไทย\u200bไทย",
        "می\u200cخواهم 👩\u200d👧",
        "血圧測定値、異常所見。",
        "tabs\tand\nlines",
    ],
)
def test_sound_text_is_left_alone(text) -> None:
    assert repair(strings([text])).to_pylist() == [text]


@quick
@given(st.text(mojibake | characters, max_size=6))
def test_nothing_that_ftfy_would_repair_is_overlooked(text) -> None:
    found = pc.match_substring_regex(strings([text]), _suspicious())[0].as_py()
    fixed = ftfy.fix_text(
        text, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, normalization=None
    )
    assert found or (fixed == text and not is_bad(text))


@quick
@given(st.lists(st.none() | messy, max_size=6), st.integers(0, 2))
def test_cleaning_twice_is_cleaning_once(values, start) -> None:
    once, counts = clean(strings(values)[start:], EVERYTHING)
    again, none = clean(once, EVERYTHING)
    assert again.equals(once)
    assert not any(none.values())
    changed = sum(before != after for before, after in zip(values[start:], once.to_pylist(), strict=True))
    assert max(counts.values(), default=0) <= changed or changed < len(values)


@quick
@given(st.lists(messy, max_size=6))
def test_a_text_is_cleaned_alike_whatever_stands_beside_it(values) -> None:
    together, _ = clean(strings(values), EVERYTHING)
    assert together.to_pylist() == [clean(strings([value]), EVERYTHING)[0][0].as_py() for value in values]


def test_counts_are_of_texts_and_by_rule() -> None:
    texts = ["cafÃ© a@b.org c@d.org", "Page 3\nbody", "sound", "Page 3", "Page\u00ad 3\nPage 4\nend", None]
    cleaned, counts = clean(strings(texts), EVERYTHING)
    assert cleaned.to_pylist() == ["café <EMAIL> <EMAIL>", "body", "sound", "", "end", None]
    found = {name: count for name, count in counts.items() if count}
    assert found == {"repair": 2, "boilerplate": 3, "email": 1}


def test_nothing_asked_for_is_nothing_done() -> None:
    texts = strings(["cafÃ© a@b.org"])
    assert clean(texts, Clean(repair=False)) == (texts, {})
    assert clean(strings([]), EVERYTHING)[0].to_pylist() == []


def test_lines_go_and_the_others_stay_in_place() -> None:
    texts = ["x\n\ncookie\n y ", "cookie", None, "", "a\nb", "\ncookies\n"]
    assert remove_lines(strings(texts), ["cookie", "^a$"]).to_pylist() == ["x\n\n y ", "", None, "", "b", "\n"]


@pytest.mark.parametrize(("pattern", "said"), [("(", "RE2"), ("(?<=a)b", "RE2"), ("x*", "every line")])
def test_an_expression_that_cannot_be_used_is_refused_in_the_recipe(pattern, said) -> None:
    with pytest.raises(ValidationError, match=said):
        Clean(boilerplate=["fine", pattern])


@given(st.lists(st.text(st.characters(max_codepoint=127), max_size=40), min_size=1, max_size=5))
def test_ascii_texts_are_repaired_alone_as_beside_others(texts: list[str]) -> None:
    beside = repair(strings([*texts, "café"])).to_pylist()
    assert repair(strings(texts)).to_pylist() == beside[:-1]
