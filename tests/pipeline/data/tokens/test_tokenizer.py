"""The tokenizer gives the same file everywhere, and normalises by itself, whatever its kind."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from pipeline.config import Tokenizer as Config
from pipeline.data.tokens.tokenizer import load_tokenizer, make_tokenizer
from pipeline.data.tokens.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipeline.errors import RecipeError

KINDS = ("bpe", "wordpiece", "unigram")
WORDS = ("pain", "eye", "Œdème", "fracture", "Straße", "肺炎", "ﬁbrosis", "naïve", "left", "right", "of", "the")
TEXTS = [" ".join(WORDS[(a * b + a) % len(WORDS)] for a in range(1, 9)) for b in range(40)]

BY_KIND = {kind: make_tokenizer(TEXTS, Config(kind=kind, vocabulary_size=400)) for kind in KINDS}
TRAIN = """
import sys
from pathlib import Path
from pipeline.config import Tokenizer
from pipeline.data.tokens.tokenizer import make_tokenizer
texts = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
for kind in ("bpe", "wordpiece", "unigram"):
    make_tokenizer(texts, Tokenizer(kind=kind, vocabulary_size=600)).save(f"{sys.argv[2]}/{kind}.json")
"""


@pytest.fixture(params=KINDS)
def tokenizer(request) -> Tokenizer:
    return BY_KIND[request.param]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


def test_two_processes_train_the_same_bytes(tmp_path) -> None:
    # Many pairs are equally frequent here, so their order must not come from a hash.
    chance = np.random.default_rng(0)
    texts = ["".join(chance.choice(list("abcdefgh xyzäß肺"), 30)) for _ in range(1500)]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    folders = [tmp_path / str(seed) for seed in (1, 2)]
    for seed, folder in enumerate(folders, start=1):
        folder.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "RAYON_NUM_THREADS": str(seed)}
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "texts.txt"), str(folder)]
        subprocess.run(command, check=True, env=environment)
    for kind in KINDS:
        first, second = (folder / f"{kind}.json" for folder in folders)
        assert first.read_bytes() == second.read_bytes(), kind
        assert 300 < load_tokenizer(first).get_vocab_size() <= 600


def test_normalisation_travels_in_the_file(tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    raw, normal = "  ﬁbrosis of the \uff25\uff39\uff25, Œdème Ⅳ ", "fibrosis of the eye, œdème iv"
    assert loaded.normalizer.normalize_str(raw) == normal
    assert ids(loaded, raw) == ids(tokenizer, normal)


@pytest.mark.parametrize("kind", KINDS)
def test_case_can_be_kept(kind) -> None:
    cased = make_tokenizer(TEXTS, Config(kind=kind, vocabulary_size=400, lowercase=False))
    assert ids(cased, "Straße") != ids(cased, "straße")
    lower = make_tokenizer(TEXTS, Config(kind=kind, vocabulary_size=400))
    assert ids(lower, "Straße") == ids(lower, "straße")


def test_accents_make_a_difference(tokenizer) -> None:
    assert ids(tokenizer, "naïve") != ids(tokenizer, "naive")


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(max_examples=300)
@given(text=st.text(max_size=40).map(lambda text: text.replace("▁", "")))
def test_what_falls_back_to_bytes_decodes_any_text(kind, text) -> None:
    tokenizer = BY_KIND[kind]
    found = ids(tokenizer, text)
    assert max(found, default=0) < tokenizer.get_vocab_size()
    assert tokenizer.decode(found).removeprefix(" ") == tokenizer.normalizer.normalize_str(text)


def test_wordpiece_reads_what_it_has_seen_and_says_unknown_to_the_rest() -> None:
    tokenizer = BY_KIND["wordpiece"]
    assert tokenizer.decode(ids(tokenizer, "the Fracture right")) == "the fracture right"
    assert tokenizer.encode("☃").tokens == ["[UNK]"]


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_text_cannot_write_control_tokens(tokenizer, tmp_path, reloaded) -> None:
    if reloaded:
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    vocabulary = Vocabulary.of(tokenizer)
    controls = {vocabulary.pad, vocabulary.start, vocabulary.mask, vocabulary.separator}
    assert not controls & set(ids(tokenizer, "left [MASK] eye [PAD][CLS] [SEP]"))


def test_special_tokens_come_first(tokenizer) -> None:
    vocabulary = Vocabulary.of(tokenizer)
    assert [vocabulary.pad, vocabulary.start, vocabulary.mask, vocabulary.separator] == [0, 1, 2, 3]
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert not vocabulary.ordinary()[:4].any()
    assert vocabulary.ordinary()[5:].all()
    assert vocabulary.size == tokenizer.get_vocab_size()


def test_little_text_gives_a_smaller_vocabulary() -> None:
    assert 256 < make_tokenizer(["ab ab"], Config(vocabulary_size=5000)).get_vocab_size() < 300


def given_tokenizer(path: Path, specials: list[str]) -> Path:
    words = {word: number for number, word in enumerate(["<unk>", "the", "eye", "left"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(specials)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(path))
    return path


def test_a_given_tokenizer_keeps_its_ids_and_gets_what_it_lacks(tmp_path) -> None:
    path = given_tokenizer(tmp_path / "given.json", ["<s>", "</s>", "<pad>"])
    tokenizer = make_tokenizer([], Config(kind="file", path=str(path)))
    vocabulary = Vocabulary.of(tokenizer)
    assert (vocabulary.start, vocabulary.separator, vocabulary.pad, vocabulary.mask) == (4, 5, 6, 7)
    assert vocabulary.size == 8
    assert vocabulary.ordinary().tolist() == [True] * 4 + [False] * 4
    assert ids(tokenizer, "the left eye <s>") == [1, 3, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "there is no file"), ("{}", "is no tokenizer.json of Hugging Face tokenizers")]
)
def test_a_given_file_that_is_no_tokenizer_is_refused(tmp_path, content, message) -> None:
    path = tmp_path / "given.json"
    if content:
        path.write_text(content)
    with pytest.raises(RecipeError, match=message):
        make_tokenizer([], Config(kind="file", path=str(path)))


def test_a_vocabulary_that_unigram_cannot_have_is_refused() -> None:
    with pytest.raises(RecipeError, match="SentencePiece cannot make a vocabulary of 300"):
        make_tokenizer(
            [chr(0x4E00 + number) * 3 for number in range(2000)], Config(kind="unigram", vocabulary_size=300)
        )
