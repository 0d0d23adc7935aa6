"""What is looked at text by text, and so on a sample only: encoding damage and language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import takewhile

AROUND = 40
SURE = 200  # characters that tell the language of a text


def damaged(texts: Iterable[str]) -> list[dict[str, str]]:
    """Return the places where texts went through a wrong encoding (`cafÃ©`): as they stand, and as they were meant."""
    import ftfy
    import ftfy.badness

    found = []
    for text in texts:
        if text.isascii() or not ftfy.badness.is_bad(text):
            continue
        meant = ftfy.fix_encoding(text)
        if meant != text:
            alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, meant, strict=False)))
            start = max(0, alike - AROUND // 2)
            found.append({"text": text[start : start + AROUND], "meant": meant[start : start + AROUND]})
    return found


def languages(texts: Iterable[str]) -> dict[str, int]:
    """Return how many of the texts are in which language (two letters, ISO 639-1), commonest first."""
    import py3langid

    found = Counter(str(py3langid.classify(text[:SURE])[0]) for text in texts)
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))
