"""A preset is fetched whole, with a tokenizer that says what KerasHub's says, or refused before anything is written."""

import random
import shutil
from pathlib import Path

import keras
import pytest
from huggingface_hub import constants
from tiny_presets import PIECES, make_bert, make_gpt, make_roberta

from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.errors import RecipeError
from pipeline.presets.convert import SAMPLES, convert, differing
from pipeline.presets.folder import describe, is_fetched
from pipeline.presets.worker import PresetError, fetch, prove
from pipeline.start import start_input

TEXTS = ["Rain and wind, on day 37!", "RAINER salt  silk\tpepper-sun", "é É 日本 naïve Straße ﬁne № Ⅷ", "rain" * 12]


def fetched(address: str | Path, out: Path) -> Path:
    out.mkdir()
    keras.utils.clear_session()  # as in a process of its own, where layers are numbered from the beginning
    fetch(str(address), out)
    return out


def test_two_copies_of_a_preset_are_equal_and_hold_all_that_is_needed(bert, tmp_path: Path) -> None:
    first, second = fetched(bert, tmp_path / "first"), fetched(bert, tmp_path / "second")
    assert is_fetched(first)
    assert not is_fetched(bert)
    assert describe(first)["max_sequence_length"] == 64
    for step in ("preprocess", "pretrain"):
        assert start_input(first, step).content == start_input(second, step).content
    other = fetched(make_bert(tmp_path / "other", hidden_dim=8), tmp_path / "third")
    assert start_input(first, "preprocess").content == start_input(other, "preprocess").content  # the same tokenizer
    assert start_input(first, "pretrain").content != start_input(other, "pretrain").content


def test_tokens_are_those_of_kerashub(bert, tmp_path: Path) -> None:
    import keras_hub

    folder = fetched(bert, tmp_path / "bert")
    tokenizer, theirs = load_tokenizer(folder / "tokenizer.json"), keras_hub.tokenizers.Tokenizer.from_preset(str(bert))
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == [int(number) for number in theirs(text)]
    vocabulary = Vocabulary.of(tokenizer)
    assert (vocabulary.pad, vocabulary.start, vocabulary.mask, vocabulary.separator) == (0, 2, 4, 3)
    named = tokenizer.encode("[MASK]", add_special_tokens=False).ids
    assert vocabulary.mask not in named  # a text cannot mask itself


@pytest.mark.parametrize("lowercase", [True, False])
def test_any_text_is_encoded_alike(lowercase, tmp_path: Path) -> None:
    import keras_hub

    chance = random.Random(4)
    ranges = [(32, 127), (0xA0, 0x600), (0x1E00, 0x2200), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)]
    texts = ["".join(chr(chance.randrange(*chance.choice(ranges))) for _ in range(12)) for _ in range(600)]
    letters = sorted({letter for text in texts for letter in (text + text.lower()) if not letter.isspace()})
    tokens = [*dict.fromkeys([*PIECES, *letters, *(f"##{letter}" for letter in letters)])]
    theirs = keras_hub.models.BertTokenizer(tokens, lowercase=lowercase, strip_accents=lowercase)
    ours = convert(theirs)
    assert differing(ours, theirs, texts) is None
    ours.normalizer = None
    assert (differing(ours, theirs, texts) is None) == (not lowercase)  # cased, nothing is rewritten


def test_byte_pairs_are_those_of_kerashub(tmp_path: Path) -> None:
    folder = fetched(make_roberta(tmp_path / "preset"), tmp_path / "roberta")
    prove(folder, [*SAMPLES, *TEXTS, "<mask> is text"])
    vocabulary = Vocabulary.of(load_tokenizer(folder / "tokenizer.json"))
    assert (vocabulary.start, vocabulary.pad, vocabulary.separator, vocabulary.mask) == (0, 1, 2, vocabulary.size - 1)


def test_a_tokenizer_that_says_something_else_is_refused(bert, tmp_path: Path) -> None:
    folder = fetched(bert, tmp_path / "bert")
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    tokenizer.normalizer = None
    tokenizer.save(str(folder / "tokenizer.json"))
    prove(folder, ["rain and wind"])
    with pytest.raises(PresetError, match=r"does not say what KerasHub's says of 'Rain': \[1\] instead of"):
        prove(folder, ["rain and wind", "Rain"])


def test_what_cannot_be_fine_tuned_is_refused(bert, tmp_path: Path) -> None:
    for address, error in [
        (make_gpt(tmp_path / "gpt"), "it holds a GPT2Backbone; supported are BertBackbone"),
        (
            "hub://bert_tiny_en_uncase",
            "KerasHub has no preset 'bert_tiny_en_uncase'; did you mean bert_tiny_en_uncased",
        ),
        ("hub://zzz", "KerasHub has no preset 'zzz'; its list is at"),
        (tmp_path, "KerasHub cannot load it .* has no config.json.*; check the name and, the first time, the network"),
    ]:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        with pytest.raises((PresetError, RecipeError), match=error):
            fetch(str(address), out)
        assert list(out.iterdir()) == []
    larger = make_bert(tmp_path / "larger", [*PIECES, "##more"])
    shutil.copytree(bert, tmp_path / "mixed")
    shutil.copytree(larger / "assets", tmp_path / "mixed" / "assets", dirs_exist_ok=True)
    tokens = len(PIECES)
    with pytest.raises(PresetError, match=f"has {tokens + 1} tokens and its backbone embeds {tokens}; the two do not"):
        fetch(str(tmp_path / "mixed"), out)


def test_hf_addresses_are_read_from_the_cache_of_the_hub(bert, tmp_path: Path, monkeypatch) -> None:
    """As far as can be shown without a network: the files of a repository lie where a download puts them."""
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(bert, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found, known = fetched("hf://someone/tiny", tmp_path / "hf"), fetched(bert, tmp_path / "bert")
    assert start_input(found, "pretrain").content == start_input(known, "pretrain").content
    with pytest.raises(
        PresetError, match=r"KerasHub cannot load it .*; check the name and, the first time, the network"
    ):
        fetched("hf://someone/else", tmp_path / "nothing")
