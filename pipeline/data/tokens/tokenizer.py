"""The subword tokenizer: Hugging Face tokenizers, with normalisation kept inside the tokenizer file.

Training gives the same file in every process, because everything downstream is found again by its content. The
byte-level BPE trainer of tokenizers 0.23 does so by itself. Its WordPiece trainer numbers the pieces inside words in
the order of a hash map and breaks ties by these numbers; told them beforehand, in a fixed order, it is deterministic.
Its Unigram trainer sums in the order of a hash map, so Unigram models come from SentencePiece, which does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pipeline.config import Tokenizer as TokenizerConfig
from pipeline.data.tokens.vocabulary import SPECIAL_TOKENS, UNKNOWN, Vocabulary, add_missing_roles
from pipeline.errors import RecipeError

CONTINUING = "##"
MOST_CHARACTERS = 4096
LONGEST_SENTENCE = 2**16


def make_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Return the recipe's tokenizer: trained on the texts, or read from the given file, which ignores them.

    A trained one is smaller than asked for when the texts hold no more.

    Raises:
        RecipeError: the given file is missing or no tokenizer, or too few texts for a vocabulary.
    """
    if config.kind == "start":
        raise ValueError("the kind start is no tokenizer to make; it is read from the backbone that is started from")
    if config.kind == "file":
        return _open_given(Path(config.path or ""))
    train = {"bpe": _train_bpe, "wordpiece": _train_wordpiece, "unigram": _train_unigram}[config.kind]
    return _as_plain_text(train(texts, config))


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a `tokenizer.json` that this module has made."""
    return _as_plain_text(Tokenizer.from_file(str(path)))


def require_same_tokenizer(tokenizer: Tokenizer, start: Path) -> None:
    """Raise unless a tokenizer is that of the backbone in a folder, to which its ids are words of its own.

    Raises:
        RecipeError: it is another one.
    """
    theirs = load_tokenizer(start / "tokenizer.json")
    if tokenizer.to_str() != theirs.to_str():
        ours, known = tokenizer.get_vocab(), theirs.get_vocab()
        differing = sum(known.get(token) != number for token, number in ours.items())
        raise RecipeError(
            f"the tokenizer of this recipe ({len(ours)} tokens, {differing} of them with another number or none there) "
            f"is not that of the backbone which pretrain.start_from names ({len(known)} tokens, {start}); remove "
            "preprocess.tokenizer, so that the backbone's own is taken"
        )


def _train_bpe(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(config)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _train_wordpiece(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    specials = [*SPECIAL_TOKENS, UNKNOWN]
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN, continuing_subword_prefix=CONTINUING))
    tokenizer.normalizer = _normalizer(config)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    kept = list(texts)
    alphabet = _alphabet(kept, tokenizer.normalizer)
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocabulary_size,
        special_tokens=[*specials, *alphabet, *(CONTINUING + character for character in alphabet)],
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=CONTINUING,
        show_progress=False,
    )
    tokenizer.train_from_iterator(kept, trainer)
    # The trainer calls what it was told special; in the model they are ordinary pieces.
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    model = models.WordPiece(vocabulary, unk_token=UNKNOWN, continuing_subword_prefix=CONTINUING)
    trained = Tokenizer(model)
    trained.normalizer, trained.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    trained.decoder = decoders.WordPiece(prefix=CONTINUING)
    trained.add_special_tokens(specials)
    return trained


def _train_unigram(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    import io

    import sentencepiece

    normalizer = _normalizer(config)
    file = io.BytesIO()
    specials = [*SPECIAL_TOKENS, UNKNOWN]
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(texts, normalizer),
            model_writer=file,
            model_type="unigram",
            vocab_size=config.vocabulary_size - len(SPECIAL_TOKENS),
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=True,
            num_threads=1,
            max_sentence_length=LONGEST_SENTENCE,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            unk_id=0,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise RecipeError(
            f"preprocess.tokenizer.kind is unigram, and SentencePiece cannot make a vocabulary of "
            f"{config.vocabulary_size} from the corpus: {error}. Lower vocabulary_size, or add text"
        ) from error
    model = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    # SentencePiece's own unknown piece is the first; the others follow ours.
    pieces = [(model.id_to_piece(number), model.get_score(number)) for number in range(1, model.get_piece_size())]
    vocabulary = [(name, 0.0) for name in specials] + pieces
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=specials.index(UNKNOWN), byte_fallback=True))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(specials)
    return tokenizer


def _open_given(path: Path) -> Tokenizer:
    where = "preprocess.tokenizer.path"
    if not path.is_file():
        raise RecipeError(f"{where}: there is no file {str(path)!r} (working folder: {Path.cwd()}); check the path")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise RecipeError(f"{where}: {path} is no tokenizer.json of Hugging Face tokenizers: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    add_missing_roles(tokenizer)
    Vocabulary.of(tokenizer)
    return _as_plain_text(tokenizer)


def _normalizer(config: TokenizerConfig) -> normalizers.Normalizer:
    steps = [normalizers.NFKC()] + ([normalizers.Lowercase()] if config.lowercase else [])
    return normalizers.Sequence([*steps, normalizers.Strip()])


def _alphabet(texts: Iterable[str], normalizer: normalizers.Normalizer) -> list[str]:
    """Return the commonest characters of the normalised texts, sorted; the rest becomes the unknown token."""
    from collections import Counter

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    common = sorted(counts, key=lambda character: (-counts[character], character))[:MOST_CHARACTERS]
    return sorted(character for character in common if not character.isspace())


def _sentences(texts: Iterable[str], normalizer: normalizers.Normalizer) -> Iterator[str]:
    """Yield what SentencePiece learns from: normalised lines of bounded length."""
    for text in texts:
        for line in normalizer.normalize_str(text).splitlines():
            for start in range(0, len(line), LONGEST_SENTENCE // 8):
                if piece := line[start : start + LONGEST_SENTENCE // 8].replace("\0", ""):
                    yield piece


def _as_plain_text(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with `[MASK]` and its like read as characters where a text contains them.

    The file does not keep this, so it is set after every load: a text could otherwise pad or mask itself.
    """
    tokenizer.encode_special_tokens = True
    return tokenizer
