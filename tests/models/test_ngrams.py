import keras
import numpy as np
import pytest
from exchange import check_reload
from tiny_models import LENGTH, VOCABULARY, answers, make_classifier, make_encoder, make_regressor, packed_rows

from models.classifier import SegmentClassifier
from models.ngrams import ORDERS, SCALE, SPACE, NgramBag

WORDS = ["", " cardio", " car", "dio", " myopathy", " a", ","]  # by token id


def make_bag(spellings: list[str], dim: int = 3, buckets: int = 997) -> NgramBag:
    bag = NgramBag(len(spellings), longest=12, dim=dim, buckets=buckets, characters_per_token=10)
    bag.build()
    table = np.zeros((len(spellings), 12), np.int32)
    for number, word in enumerate(spellings):
        table[number, : len(word)] = [SPACE if letter == " " else ord(letter) for letter in word]
    random = np.random.default_rng(2)
    bag.spellings.assign(table)
    bag.embedding.assign(random.normal(size=(buckets, dim)))
    bag.rarity.assign(random.uniform(1, 5, buckets))
    return bag


def letters_of(bag: NgramBag, tokens: list[int], segments: list[int] | None = None) -> list[set[int]]:
    """Return the hashes of each order of letters."""
    row = np.array([tokens], np.int32)
    found, _ = bag.find(row, np.array([segments or [1] * len(tokens)], np.int32))
    pairs = [(keras.ops.convert_to_numpy(h), keras.ops.convert_to_numpy(o)) for h, o in found]
    return [set(hashed[owners > 0].tolist()) for hashed, owners in pairs]


def vectors(bag: NgramBag, tokens: list[int], segments: list[int]) -> np.ndarray:
    numbers = np.arange(1, max(segments) + 1, dtype=np.int32)
    row, owner = np.array([tokens], np.int32), np.array([segments], np.int32)
    return np.asarray(keras.ops.convert_to_numpy(bag(row, owner, numbers)))[0]


def test_a_word_has_the_same_letters_however_it_is_cut() -> None:
    bag = make_bag(WORDS)
    whole, pieces = letters_of(bag, [1, 4]), letters_of(bag, [2, 3, 4])
    assert whole == pieces
    assert all(whole)


def test_ngrams_hold_white_space_at_their_ends_only() -> None:
    bag = make_bag(WORDS, buckets=65_521)
    text = " cardio a, "  # the end of a text counts as white space
    wanted = [{text[i : i + n] for i in range(len(text) - n + 1) if " " not in text[i + 1 : i + n - 1]} for n in ORDERS]
    assert [len(hashes) for hashes in letters_of(bag, [2, 3, 5, 6])] == [len(grams) for grams in wanted]


def test_neighbours_and_padding_change_nothing() -> None:
    bag = make_bag(WORDS)
    together = vectors(bag, [2, 3, 5, 4, 6, 0, 0], [1, 1, 2, 2, 2, 0, 0])
    np.testing.assert_allclose(together[0], vectors(bag, [2, 3], [1, 1])[0], atol=1e-4)
    np.testing.assert_allclose(together[1], vectors(bag, [5, 4, 6], [1, 1, 1])[0], atol=1e-4)


def test_letters_and_tokens_are_each_scaled_to_length_one() -> None:
    bag = make_bag(WORDS)
    embedding, rarity = (keras.ops.convert_to_numpy(w) for w in (bag.embedding, bag.rarity))
    row = np.array([[2, 3, 4]], np.int32)
    total = np.zeros(3)
    for group in bag.find(row, np.ones_like(row)):
        hashed = np.concatenate([np.asarray(keras.ops.convert_to_numpy(h))[0] for h, _ in group])
        counted = np.concatenate([np.asarray(keras.ops.convert_to_numpy(o))[0] for _, o in group]) > 0
        weights = rarity[hashed] * counted
        total += weights @ embedding[hashed] / np.linalg.norm(weights)
    np.testing.assert_allclose(vectors(bag, [2, 3, 4], [1, 1, 1])[0], SCALE * total, atol=1e-4)


def test_hashes_that_would_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 262144"):
        NgramBag(8, 8, 4, buckets=2**19)


def make_wide_classifier(**options) -> SegmentClassifier:
    return make_classifier(ngrams=NgramBag(VOCABULARY, 6, 3, buckets=101), **options)


def test_a_classifier_with_ngrams_comes_back_with_its_table(tmp_path) -> None:
    check_reload(make_wide_classifier(ngram_share=0.4), tmp_path / "model.keras", packed_rows())


def test_both_models_answer_by_share_and_one_of_them_in_training() -> None:
    model = make_wide_classifier(ngram_share=1.0)
    linear = answers(model, packed_rows())
    model.ngram_share = 0.0
    model.make_predict_function(force=True)
    deep = answers(model, packed_rows())
    model.ngram_share = 0.25
    model.make_predict_function(force=True)
    np.testing.assert_allclose(answers(model, packed_rows()), 0.25 * linear + 0.75 * deep, atol=1e-4)
    trained = keras.ops.convert_to_numpy(model(packed_rows(), training=True))
    is_linear = np.isclose(trained, linear, atol=1e-4).all(axis=-1)
    assert (is_linear | np.isclose(trained, deep, atol=1e-4).all(axis=-1)).all()
    assert 0 < is_linear.mean() < 1


def test_a_regressor_with_ngrams_mixes_both_in_its_units_and_comes_back(tmp_path) -> None:
    model = make_regressor(ngrams=NgramBag(VOCABULARY, 6, 3, buckets=101), ngram_share=1.0)
    found = {}
    for share in (1.0, 0.0, 0.25):
        model.ngram_share = share
        model.make_predict_function(force=True)
        found[share] = answers(model, packed_rows())
    np.testing.assert_allclose(found[0.25], 0.25 * found[1.0] + 0.75 * found[0.0], atol=1e-4)
    assert found[1.0].shape == (6, 4)
    check_reload(model, tmp_path / "model.keras", packed_rows())


def test_a_shift_moves_every_answer_by_the_same() -> None:
    for model in (make_classifier(), make_wide_classifier()):
        before = answers(model, packed_rows())
        model.shift(np.array([1.0, 0.0, -2.0], np.float32))
        np.testing.assert_allclose(answers(model, packed_rows()) - before, [[[1.0, 0.0, -2.0]] * 4] * 6, atol=1e-4)


def test_untrained_ngrams_add_nothing() -> None:
    model = SegmentClassifier(make_encoder(), 3, 4, ngrams=NgramBag(VOCABULARY, 6, 3, buckets=101), ngram_share=1.0)
    model.build(model.input_shapes)
    assert packed_rows()["token_ids"].shape == (6, LENGTH)
    np.testing.assert_array_equal(answers(model, packed_rows()), np.zeros((6, 4, 3)))
