"""A tokenizer of KerasHub as one of Hugging Face tokenizers, and the proof that both say the same.

Byte-level BPE is the same library inside KerasHub. KerasHub's WordPiece cuts a text into words first and then writes
each in NFKC_Casefold; here the text is rewritten first. That is the same but for characters that become others between
which there is a cut (`…` is three dots here, and a no-break space is a blank), and for words of more than 100 bytes,
which are unknown to KerasHub: both are left out of the comparison.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipeline.errors import RecipeError

SEPARATING = r"[ \t\n\r\f]|\p{Cc}|\p{Cf}"
STANDING_ALONE = "|".join(
    [
        r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}",
        r"[\x{4E00}-\x{9FFF}]|[\x{3400}-\x{4DBF}]|[\x{20000}-\x{2CEAF}]|[\x{F900}-\x{FAFF}]|[\x{2F800}-\x{2FA1F}]",
    ]
)
FOLDED = {"ß": "ss", "ς": "\u03c3"}  # where case folding is more than lower case
FILLERS = "\u115f\u1160\u3164\uffa0"  # of Hangul
LONGEST_WORD = 50  # bytes that are compared; a rewritten word may have twice as many
SAMPLES = (
    "The quick brown fox, naïve and 37 years old, didn't pay $1,024.50 (or €900) for it!",
    "Straße, Ὀδυσσεύς, Ĳssel, Москва, 日本語 and 한국어: déjà-vu  with\ttabs\nand lines.",
    "e-mail: someone@example.org, https://example.org/a_b?c=d#e, x*y**2 <= 3.5e-7 ~ [0, 1)",
    "",
    "🙂 emoji, soft\u00adhyphen, zero\u200bwidth",
)


def convert(tokenizer: Any) -> Tokenizer:
    """Return a tokenizer of KerasHub as one of ours.

    Raises:
        RecipeError: it is of a kind that is not converted.
    """
    import keras_hub

    if isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer):
        return Tokenizer.from_str(tokenizer._tokenizer.to_str())
    if isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer) and tokenizer.split:
        return _word_piece(tokenizer)
    raise RecipeError(
        f"its tokenizer is a {type(tokenizer).__name__}, which cannot be taken over; supported are WordPiece (BERT, "
        "DistilBERT, ELECTRA) and byte-level BPE (RoBERTa)"
    )


def differing(ours: Tokenizer, theirs: Any, texts: Sequence[str]) -> dict[str, Any] | None:
    """Return the first text that the two tokenizers encode differently, with the ids of both; None: there is none."""
    texts = [_comparable(text, theirs) for text in texts]
    expected = [np.asarray(ids, np.int64).tolist() for ids in theirs.tokenize(texts)]
    found = [encoding.ids for encoding in ours.encode_batch(texts, add_special_tokens=False)]
    for text, mine, other in zip(texts, found, expected, strict=True):
        if mine != other:
            return {"text": text, "ours": mine, "kerashub": other}
    return None


def _word_piece(tokenizer: Any) -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate(tokenizer.get_vocabulary())}
    model = models.WordPiece(
        vocabulary,
        unk_token=tokenizer.oov_token,
        continuing_subword_prefix=tokenizer.suffix_indicator,
        max_input_chars_per_word=100,
    )
    converted = Tokenizer(model)
    steps: list[normalizers.Normalizer] = []
    if tokenizer.strip_accents:
        steps += [normalizers.NFD(), normalizers.Replace(Regex(r"\p{Mn}"), "")]
    if tokenizer.lowercase:
        steps += [normalizers.NFKC(), normalizers.Lowercase()]
        steps += [normalizers.Replace(letter, folded) for letter, folded in FOLDED.items()]
    if steps:
        converted.normalizer = normalizers.Sequence(steps)
    alone = STANDING_ALONE if tokenizer.split_on_cjk else STANDING_ALONE.split("|[\\x{4E00}")[0]
    converted.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SEPARATING), "removed"),
            pre_tokenizers.Split(Regex(alone), "isolated"),
        ]
    )
    converted.decoder = decoders.WordPiece(prefix=tokenizer.suffix_indicator)
    converted.add_special_tokens([*tokenizer.special_tokens, tokenizer.oov_token])
    return converted


def _comparable(text: str, theirs: Any) -> str:
    """Return a text without what the two are known to tell apart; see the module."""
    for token in theirs.special_tokens:  # a text may name them, and with us they are ordinary characters there
        text = text.replace(token, " ")
    if not hasattr(theirs, "suffix_indicator"):
        return text
    if theirs.lowercase:
        text = "".join(" " if _is_odd(character) else character for character in text)
    return re.sub(r"\S+", lambda word: word[0] if len(word[0].encode()) <= LONGEST_WORD else "", text)


@cache
def _is_odd(character: str) -> bool:
    """Return whether a character, or one that it is made of, becomes another in the one order of steps only."""
    parts = unicodedata.normalize("NFD", character)
    return any(_changes_cuts(part) for part in parts if unicodedata.category(part) != "Mn")


def _changes_cuts(character: str) -> bool:
    rewritten = unicodedata.normalize("NFKC", character)
    ours = "".join(FOLDED.get(letter.lower(), letter.lower()) for letter in rewritten)
    if _separates(character):
        return rewritten != character
    if _stands_alone(character):
        return not (len(ours) == 1 and _stands_alone(ours))
    if unicodedata.category(character) == "Cn" or character in FILLERS:
        return True  # KerasHub drops some of these
    theirs = unicodedata.normalize("NFKC", rewritten.casefold())
    return ours != theirs or any(_separates(letter) or _stands_alone(letter) or letter.isspace() for letter in ours)


def _separates(character: str) -> bool:
    return character in " \t\n\r\f" or unicodedata.category(character) in ("Cc", "Cf")


def _stands_alone(character: str) -> bool:
    code = ord(character)
    if code < 128:
        return code > 32 and not character.isalnum()
    chinese = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
    return unicodedata.category(character).startswith("P") or any(low <= code <= high for low, high in chinese)
