"""The tokenizer gives the same file everywhere, knows every character, and normalises by itself."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Tokenizer as Config
from pipeline.data.tokenizer import (
    MASK_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    START_ID,
    encode,
    load_tokenizer,
    normalise,
    train_tokenizer,
)

WORDS = ("pain", "eye", "Œdème", "fracture", "Straße", "肺炎", "ﬁbrosis", "naïve", "left", "right", "of", "the")
TEXTS = [" ".join(WORDS[(a * b + a) % len(WORDS)] for a in range(1, 9)) for b in range(40)]

TRAIN = """
import sys
from pathlib import Path
from pipeline.config import Tokenizer
from pipeline.data.tokenizer import train_tokenizer
texts = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
train_tokenizer(texts, Tokenizer(vocabulary_size=600)).save(sys.argv[2])
"""


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, Config(vocabulary_size=400))


def test_two_processes_train_the_same_bytes(tmp_path) -> None:
    # Many pairs are equally frequent here, so their order must not come from a hash.
    chance = np.random.default_rng(0)
    texts = ["".join(chance.choice(list("abcdefgh xyzäß肺"), 30)) for _ in range(1500)]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    files = [tmp_path / f"{seed}.json" for seed in (1, 2)]
    for seed, file in enumerate(files, start=1):
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "RAYON_NUM_THREADS": str(seed)}
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "texts.txt"), str(file)]
        subprocess.run(command, check=True, env=environment)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load_tokenizer(files[0]).get_vocab_size() == 600


def test_normalisation_travels_in_the_file(tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert (
        loaded.normalizer.normalize_str("  ﬁbrosis of the \uff25\uff39\uff25, Œdème Ⅳ ")
        == "fibrosis of the eye, œdème iv"
    )
    assert [ids.tolist() for ids in encode(loaded, TEXTS)] == [ids.tolist() for ids in encode(tokenizer, TEXTS)]


def test_case_can_be_kept() -> None:
    cased = train_tokenizer(TEXTS, Config(vocabulary_size=400, lowercase=False))
    assert cased.decode(encode(cased, ["Left EYE"])[0].tolist()).strip() == "Left EYE"


def test_accents_make_a_difference(tokenizer) -> None:
    with_accent, without = encode(tokenizer, ["naïve", "naive"])
    assert with_accent.tolist() != without.tolist()


@settings(max_examples=300)
@given(st.text(max_size=40))
def test_any_text_is_encoded_and_decoded_back(tokenizer, text) -> None:
    (ids,) = encode(tokenizer, [text])
    assert ids[0] == START_ID
    assert (ids[1:] >= len(SPECIAL_TOKENS)).all()
    assert ids.max() < tokenizer.get_vocab_size()
    expected = tokenizer.normalizer.normalize_str(text)
    assert tokenizer.decode(ids.tolist()).removeprefix(" ") == expected


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_text_cannot_write_control_tokens(tokenizer, tmp_path, reloaded) -> None:
    if reloaded:
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    text = "left [MASK] eye [PAD][CLS]"
    (ids,) = encode(tokenizer, [text])
    assert not {PAD_ID, START_ID, MASK_ID} & set(ids[1:].tolist())
    assert tokenizer.decode(ids.tolist()).strip() == text.lower()


def test_truncation_keeps_the_beginning(tokenizer) -> None:
    whole, short = encode(tokenizer, TEXTS), encode(tokenizer, TEXTS, max_length=5)
    assert max(map(len, whole)) > 5
    assert [ids.tolist() for ids in short] == [ids[:5].tolist() for ids in whole]
    assert {ids.dtype for ids in whole + short} == {np.dtype(np.uint16)}


def test_special_tokens_have_their_ids(tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [PAD_ID, START_ID, MASK_ID] == [0, 1, 2]


def test_little_text_gives_a_smaller_vocabulary() -> None:
    assert 256 < train_tokenizer(["ab ab"], Config(vocabulary_size=5000)).get_vocab_size() < 300


@given(st.text(max_size=30))
def test_keys_ignore_case_width_and_white_space(text) -> None:
    (key,) = normalise([text], Config())
    assert normalise([f" \n{text}\t "], Config()) == [key]
    assert normalise([text.replace(" ", " \u00a0 ")], Config()) == [key]
    assert normalise([unicodedata.normalize("NFD", text)], Config()) == [key]
    assert "  " not in key
