import keras
import numpy as np
import pytest
from tiny_models import answers, make_classifier, make_encoder, make_masked_model, packed_rows

from models.classifier import SegmentClassifier
from models.language_models import MaskedLanguageModel
from models.packed import PACKED_INPUT

MODELS = {"classifier": make_classifier, "masked tokens": make_masked_model}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def model(request):
    return request.param()


@pytest.fixture(scope="module")
def half_model():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make_classifier()
    keras.config.set_dtype_policy("float32")
    return model


def check_reload(model, path) -> None:
    model.save(path)
    reloaded = keras.saving.load_model(path, compile=False, safe_mode=True)
    assert type(reloaded) is type(model)
    assert reloaded.dtype_policy.name == model.dtype_policy.name
    for saved, found in zip(model.get_weights(), reloaded.get_weights(), strict=True):
        np.testing.assert_array_equal(found, saved)
    inputs = packed_rows()
    np.testing.assert_array_equal(answers(reloaded, inputs), answers(model, inputs))


def test_a_saved_file_comes_back_with_its_weights(model, tmp_path) -> None:
    check_reload(model, tmp_path / "model.keras")


def test_mixed_precision_comes_back_and_leaves_the_classes_in_float32(half_model, tmp_path) -> None:
    check_reload(half_model, tmp_path / "model.keras")
    assert half_model.dtype_policy.name == "mixed_bfloat16"
    assert {keras.backend.standardize_dtype(w.dtype) for w in half_model.weights} == {"float32"}
    assert half_model.encoder.compute_dtype == "bfloat16"
    assert answers(half_model, packed_rows()).dtype == np.float32


def test_the_config_rebuilds_the_architecture(model) -> None:
    twin = type(model).from_config(model.get_config())
    twin.build(PACKED_INPUT)
    assert twin.get_config() == model.get_config()
    assert [(w.name, w.shape) for w in twin.weights] == [(w.name, w.shape) for w in model.weights]


@pytest.mark.parametrize("head", [lambda e: SegmentClassifier(e, 3), MaskedLanguageModel], ids=MODELS)
def test_a_head_keeps_the_weights_of_a_trained_encoder(head) -> None:
    encoder = make_encoder()
    encoder.build(PACKED_INPUT)
    weights = encoder.get_weights()
    model = head(encoder)
    model.build(PACKED_INPUT)
    assert len(encoder.get_weights()) == len(weights)
    for before, after in zip(weights, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    extra = {SegmentClassifier: 2, MaskedLanguageModel: 2}[type(model)]
    assert len(model.trainable_variables) == len(weights) + extra


def test_the_classifier_answers_each_segment_from_its_own_mean() -> None:
    model, inputs = make_classifier(), packed_rows()
    states = answers(model.encoder, inputs).astype(np.float64)
    kernel, bias = model.logits.get_weights()
    actual = answers(model, inputs)
    assert actual.shape == (6, 4, 3)
    for row in range(6):
        for segment in range(1, 5):
            member = inputs["segment_ids"][row] == segment
            pooled = states[row][member].mean(axis=0) if member.any() else np.zeros(8)
            np.testing.assert_allclose(actual[row, segment - 1], pooled @ kernel + bias, rtol=0, atol=1e-5)


def test_logits_of_hidden_tokens_come_from_the_embedding_table() -> None:
    model, inputs = make_masked_model(), packed_rows()
    states = answers(model.encoder, inputs).astype(np.float64)
    chosen = np.take_along_axis(states, inputs["positions"][:, :, None], axis=1)
    x = chosen @ model.transform.get_weights()[0]
    x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * model.norm.get_weights()[0]
    table = model.encoder.embedding.get_weights()[0]
    np.testing.assert_allclose(answers(model, inputs), x @ table.T, rtol=0, atol=2e-5)


def test_dropout_acts_in_training_only() -> None:
    model, inputs = make_masked_model(dropout=0.5), packed_rows()
    np.testing.assert_array_equal(answers(model, inputs), answers(model, inputs))
    trained = keras.ops.convert_to_numpy(model.encoder.embedding_dropout(np.ones((4, 8), np.float32), training=True))
    assert set(np.unique(trained)) == {0.0, 2.0}
