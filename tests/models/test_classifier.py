import keras
import numpy as np
import pytest
from exchange import check_reload
from tiny_models import (
    answers,
    make_classifier,
    make_decoder,
    make_encoder,
    make_reader,
    make_regressor,
    make_tagger,
    packed_rows,
    randomise,
)

from models.classifier import SegmentClassifier


def make_decoder_classifier(seed: int = 0) -> SegmentClassifier:
    return randomise(SegmentClassifier(make_decoder(num_layers=2), 3, segments_per_row=4), seed)


MAKERS = {"encoder": make_classifier, "decoder": make_decoder_classifier}
HEADS = {"regressor": make_regressor, "tagger": make_tagger, "reader": make_reader}


@pytest.fixture(scope="module", params=MAKERS.values(), ids=MAKERS)
def model(request):
    return request.param()


@pytest.fixture(scope="module")
def half_model():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make_classifier()
    keras.config.set_dtype_policy("float32")
    return model


def test_a_saved_classifier_comes_back_with_its_weights(model, tmp_path) -> None:
    reloaded = check_reload(model, tmp_path / "model.keras", packed_rows())
    assert type(reloaded.encoder) is type(model.encoder)


def test_mixed_precision_leaves_the_classes_in_float32(half_model, tmp_path) -> None:
    check_reload(half_model, tmp_path / "model.keras", packed_rows())
    assert half_model.dtype_policy.name == "mixed_bfloat16"
    assert {keras.backend.standardize_dtype(w.dtype) for w in half_model.weights} == {"float32"}
    assert half_model.encoder.compute_dtype == "bfloat16"
    assert answers(half_model, packed_rows()).dtype == np.float32


def test_the_config_rebuilds_the_classifier(model) -> None:
    twin = SegmentClassifier.from_config(model.get_config())
    twin.build(twin.input_shapes)
    assert twin.get_config() == model.get_config()
    assert [(w.name, w.shape) for w in twin.weights] == [(w.name, w.shape) for w in model.weights]


@pytest.mark.parametrize("make", [make_encoder, make_decoder], ids=MAKERS)
def test_a_classifier_keeps_the_weights_of_a_trained_backbone(make) -> None:
    backbone = randomise(make(), seed=3)
    weights = backbone.get_weights()
    model = SegmentClassifier(backbone, 3)
    model.build(model.input_shapes)
    for before, after in zip(weights, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    assert len(model.trainable_variables) == len(weights) + 2


def test_each_segment_is_answered_from_its_mean_or_its_last_token(model) -> None:
    inputs = packed_rows()
    inputs["segment_ids"][0] = [2] * 5 + [1] * 4 + [4] + [3] * 6  # in any order, and without padding
    states = answers(model.encoder, inputs).astype(np.float64)
    kernel, bias = model.logits.get_weights()
    actual = answers(model, inputs)
    assert actual.shape == (6, 4, 3)
    for row in range(6):
        for segment in range(1, 5):
            member = states[row][inputs["segment_ids"][row] == segment]
            whole = member[-1:] if model.encoder.causal else member
            pooled = whole.mean(axis=0) if len(whole) else np.zeros(8)
            np.testing.assert_allclose(actual[row, segment - 1], pooled @ kernel + bias, rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_other_heads_come_back_from_their_file_and_config(make, tmp_path) -> None:
    model = make()
    reloaded = check_reload(model, tmp_path / "model.keras", packed_rows())
    assert reloaded.get_config() == model.get_config()


def test_a_number_is_what_the_head_says_in_units_of_the_scale_around_the_offset() -> None:
    model = make_regressor()
    twin = SegmentClassifier(model.encoder, 1, segments_per_row=4)
    twin.build(twin.input_shapes)
    twin.logits.set_weights(model.logits.get_weights())
    rows = packed_rows()
    assert answers(model, rows).shape == (6, 4)
    np.testing.assert_allclose(answers(model, rows), answers(twin, rows)[..., 0] * 2.0 + 5.0, rtol=1e-6)


def test_every_token_is_answered_as_in_a_row_of_its_own() -> None:
    model, rows = make_tagger(), packed_rows(rows=1)
    together = answers(model, rows)
    assert together.shape == (1, 16, 3)
    for segment in range(1, rows["segment_ids"].max() + 1):
        mine = rows["segment_ids"][0] == segment
        alone = {"token_ids": rows["token_ids"][:, mine], "segment_ids": np.ones((1, mine.sum()), np.int32)}
        np.testing.assert_allclose(answers(model, alone)[0], together[0, mine], atol=1e-5)
