import keras
import numpy as np
import pytest
from exchange import check_reload
from tiny_models import (
    answers,
    make_causal_model,
    make_decoder,
    make_encoder,
    make_encoder_decoder,
    make_masked_model,
    make_span_model,
    packed_rows,
    paired_rows,
    randomise,
)

from models.language_models import (
    CausalLanguageModel,
    GroupedLanguageModel,
    MaskedLanguageModel,
    SpanLanguageModel,
)

MAKERS = {"masked": make_masked_model, "causal": make_causal_model, "span": make_span_model}
HEADS = {
    "masked": (MaskedLanguageModel, make_encoder, 2),
    "causal": (CausalLanguageModel, make_decoder, 0),
    "span": (SpanLanguageModel, make_encoder_decoder, 0),
}


@pytest.fixture(scope="module", params=MAKERS.values(), ids=MAKERS)
def model(request):
    return request.param()


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def half_model(request):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return request.param()
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_saved_file_comes_back_with_its_weights(model, tmp_path) -> None:
    check_reload(model, tmp_path / "model.keras", paired_rows())


def test_mixed_precision_comes_back(half_model, tmp_path) -> None:
    check_reload(half_model, tmp_path / "model.keras", paired_rows())
    assert half_model.dtype_policy.name == "mixed_bfloat16"
    assert {keras.backend.standardize_dtype(w.dtype) for w in half_model.trainable_variables} == {"float32"}
    layers = [layer for layer in half_model._flatten_layers() if not isinstance(layer, keras.Model)]
    assert {layer.compute_dtype for layer in layers} == {"bfloat16"}


def test_mixed_precision_answers_nearly_as_float32(half_model, request) -> None:
    whole = MAKERS[request.node.callspec.id]()
    whole.set_weights(half_model.get_weights())
    inputs = paired_rows()
    exact = answers(whole, inputs)
    half = answers(half_model, inputs).astype(np.float32)
    assert 0 < np.abs(half - exact).max() < 0.1 * np.abs(exact).max()


def test_the_config_rebuilds_the_architecture(model) -> None:
    twin = type(model).from_config(model.get_config())
    twin.build(twin.input_shapes)
    assert twin.get_config() == model.get_config()
    assert [(w.name, w.shape) for w in twin.weights] == [(w.name, w.shape) for w in model.weights]


@pytest.mark.parametrize(("head", "make", "extra"), HEADS.values(), ids=HEADS)
def test_a_head_keeps_the_weights_of_a_trained_backbone(head, make, extra) -> None:
    backbone = randomise(make(), seed=3)
    weights = backbone.get_weights()
    model = head(backbone)
    model.build(model.input_shapes)
    for before, after in zip(weights, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    assert len(model.trainable_variables) == len(backbone.trainable_variables) + extra


def test_logits_of_hidden_tokens_come_from_the_embedding_table() -> None:
    model, inputs = make_masked_model(), paired_rows()
    states = answers(model.backbone, inputs).astype(np.float64)
    chosen = np.take_along_axis(states, inputs["positions"][:, :, None], axis=1)
    x = chosen @ model.transform.get_weights()[0]
    x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * model.norm.get_weights()[0]
    table = model.backbone.embedding.get_weights()[0]
    np.testing.assert_allclose(answers(model, inputs), x @ table.T, rtol=0, atol=2e-5)


@pytest.mark.parametrize("make", [make_causal_model, make_span_model], ids=["causal", "span"])
def test_logits_of_every_position_come_from_the_embedding_table(make) -> None:
    model, inputs = make(), paired_rows()
    table = getattr(model.backbone, "encoder", model.backbone).embedding.get_weights()[0]
    expected = answers(model.backbone, inputs).astype(np.float64) @ table.T
    np.testing.assert_allclose(answers(model, inputs), expected, rtol=0, atol=2e-5)


@pytest.fixture
def grouped():
    return randomise(GroupedLanguageModel(make_encoder(), num_groups=5), seed=2)


def test_groups_are_told_from_the_mean_states_of_whole_segments_and_tokens_as_without_them(grouped) -> None:
    inputs = packed_rows()
    asked = inputs | {"groups": np.zeros((6, 7), np.int32)}
    plain = MaskedLanguageModel(grouped.backbone)
    plain.build(plain.input_shapes)
    plain.transform.set_weights(grouped.transform.get_weights())
    plain.norm.set_weights(grouped.norm.get_weights())
    tokens, groups = grouped.predict_on_batch(asked)
    np.testing.assert_allclose(np.asarray(tokens), answers(plain, inputs), rtol=0, atol=2e-5)
    states, (kernel, bias) = answers(grouped.backbone, inputs), grouped.group_logits.get_weights()
    assert np.asarray(groups).shape == (6, 7, 5)
    for row in range(6):
        for segment in range(1, inputs["segment_ids"][row].max() + 1):
            mean = states[row][inputs["segment_ids"][row] == segment].mean(axis=0)
            np.testing.assert_allclose(np.asarray(groups)[row, segment - 1], mean @ kernel + bias, rtol=0, atol=2e-5)


def test_a_model_of_groups_answers_for_tokens_alone_where_none_are_asked_for(grouped, tmp_path) -> None:
    inputs = packed_rows()
    tokens, _ = grouped.predict_on_batch(inputs | {"groups": np.zeros((6, 7), np.int32)})
    np.testing.assert_allclose(answers(grouped, inputs), np.asarray(tokens), rtol=0, atol=2e-5)
    check_reload(grouped, tmp_path / "model.keras", inputs)
