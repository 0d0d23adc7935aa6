"""Personal data by kind, replaced by `<EMAIL>` and the like.

A vectorised expression picks the texts that can hold a kind, 20 to 60 ns a word and kind on one core; only in these,
candidates are looked for and checked: checksums by python-stdnum, phone numbers by phonenumbers, network addresses by
the standard library. What may as well be harmless (a date, a version, a section, an identifier) is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.text.arrays import change

Spans = Iterable[tuple[int, int]]

# Countries whose national way of writing numbers, with a leading zero, is known here, besides North America's.
REGIONS = ("GB", "DE", "FR", "IT", "NL", "BE", "AT", "CH", "AU", "JP")
# How issuers begin and how long their cards are: Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay.
CARD = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|(?:6011|64[4-9]\d|65\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
# What a number of four parts is that is no address.
VERSION = re.compile(r"(?:\bv|version|release|\brev|build|section|§)[.:]?\s*$", re.IGNORECASE)

URL = re.compile(
    r"(?:\b(?:https?|ftp)://|(?<![\w.@/-])www\.)"
    r"[^\s<>\"\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]*[^\s<>\".,;:!?'()\[\]\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]",
    re.IGNORECASE,
)
EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.)+(?!png|jpe?g|gif|svg|webp)[^\W\d_]{2,24}(?![\w@])")
IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
CARD_CANDIDATE = re.compile(
    r"(?<![\w.,-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|[.,]\d)"
)
SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
IPV4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)")
IPV6 = re.compile(r"(?<![\w:.])[23f][0-9a-f]{3}:(?:[0-9a-f]{0,4}:){1,6}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE)
# International, North American, and with a national prefix of zero.
PHONE = re.compile(
    r"(?<![\w.,+/-])(?:(?:\+|00)[1-9](?:[ ./()-]{0,3}\d){6,14}"
    r"|(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}"
    r"|\(?0\d{1,5}\)?(?:[ ./-]{1,3}\d{2,8}){1,5})(?!\w|[.,-]\d)"
)
# What else has the form of a French number: a day and what follows it.
DATE = re.compile(r"\(?\d{1,2}([./-])\d{1,2}\1(?:(?:19|20)\d\d(?!\d)|\d\d )")


@dataclass(frozen=True)
class _Kind:
    """One kind of personal data: `hint` (RE2) selects the texts that `find` looks through."""

    hint: str
    find: Callable[[str], Spans]


def redactors(kinds: Iterable[str]) -> dict[str, Callable[[pa.Array], pa.Array]]:
    """Return what replaces each kind of personal data in texts, by name, in the order in which it should happen."""
    wanted = set(kinds)
    return {name: _redactor(name, kind) for name, kind in _kinds().items() if name in wanted}


def _kinds() -> dict[str, _Kind]:
    """Return all kinds; one that may hold another comes first, and those with a checksum before those without."""
    return {
        "url": _Kind(r"(?i)://|www\.", _all(URL)),
        "email": _Kind(r"@", _all(EMAIL)),
        "iban": _Kind(r"[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4} ?[A-Z0-9]", _ibans),
        "credit_card": _Kind(r"\d{13}|\d{4}[ -]\d{4,6}[ -]\d{4}", _cards),
        "us_ssn": _Kind(r"\d-\d\d-\d{4}", _ssns),
        "ip_address": _Kind(r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]{4}:[0-9A-Fa-f:]*:", _addresses),
        "phone": _Kind(
            r"(?:\+|00)[1-9][ ./()-]{0,3}\d|\d\d\d\)?[ .-]\d{3}[ .-]\d{4}|0\d{1,5}\)?[ ./-]{1,3}\d\d", _phones
        ),
    }


def _redactor(name: str, kind: _Kind) -> Callable[[pa.Array], pa.Array]:
    mark = f"<{name.upper()}>"

    def one(text: str) -> str:
        parts, done = [], 0
        for start, end in kind.find(text):
            parts += [text[done:start], mark]
            done = end
        return "".join([*parts, text[done:]])

    def some(texts: pa.Array) -> pa.Array:
        return pa.array([one(text) for text in texts.to_pylist()], pa.string())

    return lambda texts: change(texts, pc.match_substring_regex(texts, kind.hint), some)


def _all(pattern: re.Pattern[str]) -> Callable[[str], Spans]:
    return lambda text: (match.span() for match in pattern.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    """Yield account numbers; words in capitals that follow one are not part of it."""
    from stdnum import iban

    for match in IBAN.finditer(text):
        ends = [end for end in range(match.end(), match.start() + 14, -1) if not text[end : end + 1].isalnum()]
        if found := next((end for end in ends if iban.is_valid(text[match.start() : end], check_country=False)), None):
            yield match.start(), found


def _cards(text: str) -> Iterator[tuple[int, int]]:
    from stdnum import luhn

    for match in CARD_CANDIDATE.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if CARD.fullmatch(digits) and luhn.is_valid(digits):
            yield match.span()


def _ssns(text: str) -> Spans:
    from stdnum.us import ssn

    return (match.span() for match in SSN.finditer(text) if ssn.is_valid(match[0]))


def _addresses(text: str) -> Spans:
    """Return addresses; one of single digits is none, but a section or a version, or else some public server."""

    def four(match: re.Match[str]) -> bool:
        return len(match[0]) > len("1.1.1.1") and not VERSION.search(text[max(0, match.start() - 20) : match.start()])

    found = [match for match in IPV4.finditer(text) if four(match)]
    found += [match for match in IPV6.finditer(text) if re.search(r"\d", match[0])]
    return sorted(match.span() for match in found if _is_address(match[0]))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _phones(text: str) -> Iterator[tuple[int, int]]:
    """Yield phone numbers that are valid in their country, and grouped as is usual there if they do not name it."""
    from phonenumbers import Leniency, PhoneNumberMatcher

    for match in PHONE.finditer(text):
        number = match[0]
        if DATE.match(number):
            continue
        if number.startswith(("+", "00")):
            regions, leniency = ["ZZ"], Leniency.VALID
            number = number.replace("00", "+", 1) if number.startswith("00") else number
        else:
            leniency = Leniency.STRICT_GROUPING
            regions = list(REGIONS) if number.lstrip("(").startswith("0") else ["US"]
        for region in regions:
            if found := next(iter(PhoneNumberMatcher(number, region, leniency)), None):
                shorter = len(match[0]) - len(number)
                yield match.start() + found.start, match.start() + shorter + found.end
                break
