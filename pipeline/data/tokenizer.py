"""The subword tokenizer: Hugging Face tokenizers, with normalisation kept inside the tokenizer file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pipeline.config import Tokenizer as TokenizerConfig

SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[MASK]")
PAD_ID, START_ID, MASK_ID = range(len(SPECIAL_TOKENS))


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Return a byte-level BPE tokenizer trained on the texts; smaller than asked for when the texts hold no more.

    Byte-level BPE because its training is deterministic: WordPiece and Unigram of tokenizers 0.23 gave another file
    on every run, and with it other shards and fingerprints downstream. It also knows every character of every script.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = make_normalizer(config)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _as_plain_text(tokenizer)


def make_normalizer(config: TokenizerConfig) -> normalizers.Normalizer:
    """Return the normaliser that goes into the tokenizer file."""
    steps = [normalizers.NFKC()] + ([normalizers.Lowercase()] if config.lowercase else [])
    return normalizers.Sequence([*steps, normalizers.Strip()])


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a `tokenizer.json`."""
    return _as_plain_text(Tokenizer.from_file(str(path)))


def normalise(texts: Iterable[str], config: TokenizerConfig) -> list[str]:
    """Return each text as the tokenizer sees it, with runs of white space made one: what counts as a duplicate."""
    normalizer = make_normalizer(config)
    return [" ".join(normalizer.normalize_str(text).split()) for text in texts]


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int | None = None) -> list[np.ndarray]:
    """Return the token ids of each text, (tokens,) uint16, opened by the start token.

    Args:
        tokenizer: Tokenizer. As trained here.
        texts: sequence of str.
        max_length: int. Longer texts are truncated to it; None keeps them whole.
    """
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    pieces = None if max_length is None else max_length - 1
    return [np.array([START_ID, *encoding.ids[:pieces]], dtype=np.uint16) for encoding in encodings]


def _as_plain_text(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with `[MASK]` and its like read as characters where a text contains them.

    The file does not keep this, so it is set after every load: a text could otherwise pad or mask itself.
    """
    tokenizer.encode_special_tokens = True
    return tokenizer
