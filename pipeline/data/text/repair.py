"""Clean texts: encoding damage undone, boilerplate lines and personal data removed. Cleaning again changes nothing.

ftfy repairs, at 30 microseconds a text and more, so it sees only texts in which a regular expression finds something
for it to do. To find nothing takes 40 to 60 ns a word on one core (ICD-10-CM texts; 14 ns a character in French and
German, 20 in Japanese).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Clean
from pipeline.data.text.arrays import BLANK, change, to_bool
from pipeline.data.text.redact import redactors

# What ftfy's repairs other than of mojibake begin with: HTML entities, control characters and odd line breaks.
DAMAGE = (
    r"&#?[0-9A-Za-z]{1,24};|[\x00-\x08\x0b-\x1f\x7f-\x9f\x{2028}\x{2029}\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"
)
# Soft hyphen, Mongolian vowel separator and word joiner: seen by no reader, and they hide a word from its equals.
INVISIBLE = r"[\x{ad}\x{180e}\x{2060}]"
# Zero-width space, which is junk but where it divides words that no blank does.
ZERO_WIDTH = "\u200b"
DIVIDED = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
ROUNDS = 100  # of a chain such as phone numbers without a blank between them, each loses one link


def clean(texts: pa.Array, config: Clean) -> tuple[pa.Array, dict[str, int]]:
    """Return the texts as the recipe wants them, and how many of them each rule changed.

    A text that a rule changed goes through all rules again until none changes it, since what one leaves may be work
    for another: a line that loses its control characters, say, may turn out to be boilerplate.

    Args:
        texts: pa.Array of string, (texts,). A null stays null; a text may become empty.
        config: Clean.

    Returns:
        pa.Array of string, (texts,); counts by rule: `repair`, `boilerplate`, or the kind of personal data.
    """
    touched: dict[str, np.ndarray] = {}
    places = np.arange(len(texts))
    cleaned = rest = texts
    for _ in range(ROUNDS):
        if not len(rest):
            break
        after = rest
        for name, rule in _rules(config).items():
            before, after = after, rule(after)
            changed = to_bool(pc.not_equal(before, after))
            touched.setdefault(name, np.zeros(len(texts), bool))[places[changed]] = True
        moved = to_bool(pc.not_equal(rest, after))
        rest, places = after.filter(pa.array(moved)), places[moved]
        mask = np.zeros(len(texts), bool)
        mask[places] = True
        if len(places):
            cleaned = pc.replace_with_mask(cleaned, pa.array(mask), rest)
    return cleaned, {name: int(mask.sum()) for name, mask in touched.items()}


def repair(texts: pa.Array) -> pa.Array:
    """Return the texts without encoding damage, HTML entities, control characters and invisible ones.

    Left as they are: curly quotes, ligatures, full-width characters, and composed or decomposed accents, which are no
    damage, and which the tokenizer's normaliser treats as it is told to.
    """
    # To compile the whole expression takes RE2 1.7 ms, far longer than the model takes for the one text of a question.
    ascii_alone = pc.all(pc.string_is_ascii(texts)).as_py()
    return change(texts, pc.match_substring_regex(texts, DAMAGE if ascii_alone else _suspicious()), _repair)


def remove_lines(texts: pa.Array, patterns: list[str]) -> pa.Array:
    """Return the texts without the lines in which one of the patterns (RE2) is found."""
    lists = pc.split_pattern(texts, "\n")
    lines, owners = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    found = to_bool(pc.match_substring_regex(lines, "|".join(f"(?:{pattern})" for pattern in patterns)))
    affected = np.zeros(len(texts), bool)
    affected[owners[found]] = True
    kept = affected[owners] & ~found
    counts = np.bincount(owners[kept], minlength=len(texts))[affected]
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    shorter = pa.ListArray.from_arrays(offsets, lines.filter(pa.array(kept)))
    return change(texts, pa.array(affected), lambda _: pc.binary_join(shorter, "\n"))


def _rules(config: Clean) -> dict[str, Callable[[pa.Array], pa.Array]]:
    """Return what the recipe asks for, by name, in the order in which it happens."""
    rules: dict[str, Callable[[pa.Array], pa.Array]] = {"repair": repair} if config.repair else {}
    if config.boilerplate:
        rules["boilerplate"] = lambda texts: remove_lines(texts, config.boilerplate)
    return rules | redactors(config.redact)


def _repair(texts: pa.Array) -> pa.Array:
    """Return texts that may be damaged, repaired; what mojibake is made of is invisible too, so ftfy comes first."""
    import ftfy

    config = ftfy.TextFixerConfig(
        uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, normalization=None, explain=False
    )
    texts = pa.array([ftfy.fix_text(text, config) for text in texts.to_pylist()], pa.string())
    texts = pc.replace_substring_regex(texts, f"{INVISIBLE}+", "")
    undivided = pc.invert(pc.match_substring_regex(texts, DIVIDED))
    return change(texts, undivided, lambda some: pc.replace_substring(some, ZERO_WIDTH, ""))


@functools.cache
def _suspicious() -> str:
    r"""Return the expression that finds all work for `_repair`, with ftfy's own one for mojibake, in RE2's dialect.

    RE2 knows no verbose expressions, and takes `\w` and `\s` for ASCII.
    """
    from ftfy.badness import BADNESS_RE

    def compact(match: re.Match[str]) -> str:
        part = match[0]
        if part[0] == "#" or part.isspace():
            return ""
        return {r"\w": r"[\p{L}\p{N}_]", r"\s": BLANK}.get(part, part)

    badness = re.sub(r"\[(?:\\.|[^\]\\])*\]|\\.|#[^\n]*|\s+", compact, BADNESS_RE.pattern)
    return f"(?m:{badness})|{DAMAGE}|{INVISIBLE}|{ZERO_WIDTH}"
