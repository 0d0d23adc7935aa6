import numpy as np
import pytest
from tiny_steps import KINDS, finetune_notes, make_backbone, make_recipe, make_tokens

from models.ngrams import SPACE, NgramBag
from pipeline.bundle import Bundle
from pipeline.config import Tokenizer
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.packing import pack
from pipeline.data.tokens.shards import ShardedRows, write_index, write_shards
from pipeline.data.tokens.tokenizer import make_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.ngrams import adjustment, measure_rarity, spell

TEXTS = [f"the {word} of the {other}" for word in ("heart", "liver", "hearth") for other in ("ankle", "wrist", "knee")]


@pytest.fixture(params=["bpe", "wordpiece", "unigram"])
def tokenizer(request):
    size = 320 if request.param != "unigram" else 310
    return make_tokenizer(TEXTS * 5, Tokenizer(kind=request.param, vocabulary_size=size))


def test_every_kind_of_tokenizer_spells_a_text_as_it_is_written(tokenizer) -> None:
    spellings = spell(tokenizer)
    ids = tokenizer.encode("the heart", add_special_tokens=False).ids
    codes = [code for number in ids for code in spellings[number] if code]
    assert codes == [SPACE if letter == " " else 2 + ord(letter) for letter in " the heart"]
    assert not spellings[sorted(Vocabulary.of(tokenizer).special)].any()


def test_what_stands_in_every_text_counts_least_and_what_never_came_nothing(tokenizer, tmp_path) -> None:
    documents = TextEncoder(tokenizer).encode(TEXTS, None, max_length=32)
    packed = pack(documents, 32, seed=0, pad=0)
    write_index(write_shards(packed, tmp_path, 0, 100), tmp_path, 32)
    bag = NgramBag(len(spell(tokenizer)), 24, 2, buckets=65_521)
    bag.build()
    bag.spellings.assign(spell(tokenizer))
    rarity = measure_rarity(bag, ShardedRows(tmp_path))
    assert set(np.unique(rarity)) >= {0.0, np.float32(1.0)}  # log(10 / 10) + 1: the
    assert rarity.max() == pytest.approx(np.log(10 / 4) + 1)  # in three texts, as the rarest are
    assert (rarity == 0).mean() > 0.99


def test_log_frequencies_of_classes() -> None:
    np.testing.assert_allclose(adjustment(np.array([0, 0, 0, 2], np.int32), 3), np.log([0.75, 0.25, 0.25]))


def test_a_known_spelling_is_understood_in_a_word_never_seen(tmp_path) -> None:
    tokens = make_tokens(tmp_path)
    (tmp_path / "backbone").mkdir()
    backbone = make_backbone(tmp_path / "backbone", tokens, make_recipe())
    result = finetune_notes(tokens, backbone, tmp_path / "out", ngrams=8, ngram_share=1.0)
    assert result.validation_accuracy > 0.9
    bundle = Bundle.load(tmp_path / "out" / "bundle")
    inflected = [f"{words[0]}s" for _, words in sorted(KINDS.items())]
    assert [bundle.labels[i] for i in bundle.answer(inflected).argmax(axis=1)] == sorted(KINDS)
