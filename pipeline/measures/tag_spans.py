"""Spans of words out of tags: BIO, BIOES or BILOU, or plain tags, of which each word is a span.

nervaluate reads the spans as CoNLL's own script does (an `I-` that continues nothing begins a span). seqeval, the usual
choice, has had no release since 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nervaluate.loaders import ListLoader

OUTSIDE = "O"
# Prefix -> what it is in BIO.
PREFIXES = {"B-": "B-", "I-": "I-", "E-": "I-", "L-": "I-", "S-": "B-", "U-": "B-"}

Span = tuple[str, int, int]


def are_spans(labels: Iterable[str]) -> bool:
    """Return whether the tags mark spans: every one is O or has a prefix, and some begin one."""
    tags = set(labels) - {OUTSIDE}
    return bool(tags) and all(tag[:2] in PREFIXES and len(tag) > 2 for tag in tags)


def type_of(tag: str, *, spans: bool) -> str | None:
    """Return the type of span that a tag is part of: `PER` of `B-PER`; None of O."""
    return None if tag == OUTSIDE else tag[2:] if spans else tag


def types_of(labels: Iterable[str]) -> list[str]:
    """Return the types of spans that the tags can mark, sorted."""
    tags = list(labels)
    marked = are_spans(tags)
    return sorted({name for tag in tags if (name := type_of(tag, spans=marked)) is not None})


def spans_of(rows: Iterable[Sequence[str]], *, spans: bool) -> list[set[Span]]:
    """Return the spans (type, first word, last word) of each row of tags."""
    read = [[_bio(tag, spans=spans) for tag in row] for row in rows]
    return [{(one.label, one.start, one.end) for one in found} for found in ListLoader().load(read)]


def _bio(tag: str, *, spans: bool) -> str:
    if tag == OUTSIDE:
        return tag
    return PREFIXES[tag[:2]] + tag[2:] if spans else f"B-{tag}"
