"""Which token ids mean what: of a tokenizer trained here, or of one that was given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tokenizers import AddedToken, Tokenizer

from pipeline.errors import RecipeError

# What other makers call the tokens that our models need. The first is ours; a given tokenizer's first match counts.
ROLES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"),
    "start": ("[CLS]", "<s>", "<cls>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
    "separator": ("[SEP]", "</s>", "<sep>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
}
SPECIAL_TOKENS = tuple(names[0] for names in ROLES.values())
UNKNOWN = "[UNK]"


@dataclass(frozen=True)
class Vocabulary:
    """The ids that the models and batches need to know.

    Attributes:
        size: int. Number of tokens.
        pad: int. Fills a row up.
        start: int. Opens every document.
        mask: int. Stands where a token is hidden.
        separator: int. Stands between a text and its second text.
        special: frozenset of int. Every id that stands for no text.
    """

    size: int
    pad: int
    start: int
    mask: int
    separator: int
    special: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """Return the vocabulary of a tokenizer that has every role; see `add_missing_roles`.

        Raises:
            RecipeError: a role is missing.
        """
        roles = {role: _find(tokenizer, names) for role, names in ROLES.items()}
        if missing := [role for role, found in roles.items() if found is None]:
            raise RecipeError(
                f"the tokenizer has no token for {', '.join(missing)}; expected one of {', '.join(ROLES[missing[0]])}"
            )
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        ids = {role: int(found) for role, found in roles.items() if found is not None}
        return cls(tokenizer.get_vocab_size(), **ids, special=frozenset(special | set(ids.values())))

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest type that holds every id."""
        return np.uint16 if self.size <= np.iinfo(np.uint16).max + 1 else np.uint32

    def ordinary(self) -> np.ndarray:
        """Return which ids stand for text, (size,) bool."""
        mask = np.ones(self.size, bool)
        mask[list(self.special)] = False
        return mask


def add_missing_roles(tokenizer: Tokenizer) -> None:
    """Add our own special token for every role that the tokenizer lacks."""
    missing = [names[0] for names in ROLES.values() if _find(tokenizer, names) is None]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in missing])


def _find(tokenizer: Tokenizer, names: tuple[str, ...]) -> int | None:
    ids = (tokenizer.token_to_id(name) for name in names)
    return next((number for number in ids if number is not None), None)
