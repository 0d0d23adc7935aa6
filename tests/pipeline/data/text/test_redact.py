"""Personal data goes, and what only looks like it stays."""

import pytest
from text_cases import strings

from pipeline.data.text.redact import redactors

FOUND = {
    "email": [
        ("write to a.b+c@x-y.co.uk, now", "write to <EMAIL>, now"),
        ("müller@börse.de.", "<EMAIL>."),
        ("<jane@clinic.org>", "<<EMAIL>>"),
    ],
    "url": [
        ("see https://a.b/c?d=e&f=(g).", "see <URL>)."),
        ("(http://x.org/y)", "(<URL>)"),
        ("www.example.com, ok", "<URL>, ok"),
        ("見る https://a.b/cの", "見る <URL>の"),
    ],
    "iban": [
        ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "IBAN <IBAN> BIC COBADEFF"),
        ("GB29NWBK60161331926819", "<IBAN>"),
        ("BE68 5390 0754 7034 DATE", "<IBAN> DATE"),
        ("FR14 2004 1010 0505 0001 3M02 606.", "<IBAN>."),
    ],
    "credit_card": [
        ("card 4111 1111 1111 1111, please", "card <CREDIT_CARD>, please"),
        ("5555-5555-5555-4444", "<CREDIT_CARD>"),
        ("378282246310005 or 3782 822463 10005", "<CREDIT_CARD> or <CREDIT_CARD>"),
    ],
    "us_ssn": [("SSN 123-45-6789.", "SSN <US_SSN>.")],
    "ip_address": [
        ("from 192.168.0.17:8080 to 10.20.30.0/24.", "from <IP_ADDRESS>:8080 to <IP_ADDRESS>/24."),
        ("fe80::1ff:fe23:4567:890a, 10.0.0.255", "<IP_ADDRESS>, <IP_ADDRESS>"),
        ("2001:0db8:0000:0000:0000:ff00:0042:8329", "<IP_ADDRESS>"),
    ],
    "phone": [
        ("+49 30 901820, +33142685301", "<PHONE>, <PHONE>"),
        ("call +44 (0)20 7946 0958 now", "call <PHONE> now"),
        ("0044 20 7946 0958", "<PHONE>"),
        ("(415) 555-2671 or 1-800-356-9377", "<PHONE> or <PHONE>"),
        ("415.555.2671", "<PHONE>"),
        ("01 42 68 53 00", "<PHONE>"),
        ("01.42.68.53.00", "<PHONE>"),
        ("020 7946 0958", "<PHONE>"),
        ("030/12345678", "<PHONE>"),
        ("03-3213-1111", "<PHONE>"),
    ],
}
HARMLESS = {
    "email": ["logo@2x.png", "see @home", "a@b", "5 @ 3.50"],
    "url": ["ratio 3://4", "awww.example.com", "http:", "e.g. this.that"],
    "iban": ["DE89 3704 0044 0532 0130 01", "AB12 3456 7890 1234 5678", "ICD10 CODE 2024 EDITION"],
    "credit_card": [
        "4111 1111 1111 1112", "1699999999999", "9780306406157", "id-4111111111111111", "4111111111111111.5",
    ],
    "us_ssn": ["000-12-3456", "900-12-1234", "2024-12-1999", "123-45-67890"],
    "ip_address": [
        "256.10.10.10", "section 1.2.3.4", "version 10.0.19.41", "v2.10.3.14", "10.20.30.40.50", "01.02.2024",
        "12:30:45", "std::dead", "face::bad", "00:1B:44:11:3A:B7",
    ],
    "phone": [
        "01.02.2024", "01.02.2024 12", "01.02.24 10 30", "2024-05-06 10:30", "$1,234.56", "10 000 000", "0.5 1234567",
        "I10.9", "E11.65", "Z99-1234", "T20.111", "version 1.2.3", "555-1234", "123 456 7890", "001-002-0003", "0 123",
        "ISBN 0-306-40615-2", "x415-555-2671", "+5 000 000", "1234567890", "3.14159 26535 89793", "2019 2020 2021 2022",
    ],
}  # fmt: skip


def redact(kind: str, texts: list[str | None]) -> list[str | None]:
    values: list[str | None] = redactors([kind])[kind](strings(texts)).to_pylist()
    return values


@pytest.mark.parametrize(("kind", "text", "expected"), [(kind, *case) for kind in FOUND for case in FOUND[kind]])
def test_personal_data_is_replaced_once_and_for_all(kind, text, expected) -> None:
    once = redact(kind, [None, text, "sound"])
    assert once == [None, expected, "sound"]
    assert redact(kind, once) == once


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind in HARMLESS for text in HARMLESS[kind]])
def test_what_only_looks_like_it_stays(kind, text) -> None:
    assert redact(kind, [text, f"It was {text}, then."]) == [text, f"It was {text}, then."]


def test_a_kind_that_holds_another_comes_first_whatever_the_recipe_says() -> None:
    assert list(redactors(["phone", "email", "url"])) == ["url", "email", "phone"]


def test_codes_of_the_classification_are_no_personal_data() -> None:
    codes = [
        f"{letter}{number:02d}.{rest}" for letter in "AEITZ" for number in (0, 10, 99) for rest in ("0", "11", "2X1A")
    ]
    lines = [" ".join(codes[start : start + 5]) for start in range(len(codes) - 5)]
    for kind in FOUND:
        assert redact(kind, [*codes, *lines]) == [*codes, *lines]
