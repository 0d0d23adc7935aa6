"""An encoder of KerasHub behaves as one of ours: one text in a row, told apart by depth, adapted, and reloaded."""

import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from tiny_models import answers

from models.classifier import SegmentClassifier
from models.freezing import depths, train_top
from models.lora import adapted, add_adapters, merge_adapters
from models.preset import PresetEncoder

SEPARATOR = 3


def make_preset_encoder() -> PresetEncoder:
    backbone = keras_hub.models.BertBackbone(30, 2, 2, 8, 12, dropout=0.0, max_sequence_length=16)
    random = np.random.default_rng(1)
    backbone.set_weights([random.normal(size=w.shape) * 0.4 for w in backbone.get_weights()])
    return PresetEncoder(backbone, 28, SEPARATOR, name="encoder")


@pytest.fixture(scope="module")
def encoder() -> PresetEncoder:
    return make_preset_encoder()


def rows(*texts: list[int], length: int = 10) -> dict[str, np.ndarray]:
    tokens, segments = np.zeros((2, len(texts), length), np.int32)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text
        segments[row, : len(text)] = 1
    return {"token_ids": tokens, "segment_ids": segments}


def test_states_are_those_of_kerashub_and_padding_changes_none(encoder) -> None:
    text = [2, 7, 8, 9]
    padded = rows(text, [2, 5, 6, 7, 8, 9, 10, 11, 12])
    padded["token_ids"][0, len(text) :] = 17  # whatever stands there
    found = answers(encoder, padded)[0, : len(text)]
    alone = {"token_ids": np.array([text]), "segment_ids": np.zeros((1, 4)), "padding_mask": np.ones((1, 4))}
    expected = encoder.backbone.predict_on_batch(alone)["sequence_output"][0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_second_text_is_told_to_the_backbone(encoder) -> None:
    pair = [2, 7, SEPARATOR, 8, SEPARATOR, 9]
    types = np.array([[0, 0, 0, 1, 1, 1]])
    given = {"token_ids": np.array([pair]), "segment_ids": types, "padding_mask": np.ones((1, 6))}
    expected = encoder.backbone.predict_on_batch(given)["sequence_output"][0]
    np.testing.assert_allclose(answers(encoder, rows(pair))[0, :6], expected, atol=1e-5)


def test_weights_lie_at_their_depth_and_the_pooler_is_left_out() -> None:
    encoder = make_preset_encoder()
    found = {variable.path: depths(encoder)[id(variable)] for variable in encoder.weights}
    assert not [path for path in found if "pooled" in path]
    assert {depth for path, depth in found.items() if "transformer_layer_1" in path} == {1}
    assert {depth for path, depth in found.items() if "transformer_layer_0" in path} == {2}
    assert {depth for path, depth in found.items() if "embedding" in path} == {3}
    train_top(encoder, 1)
    assert {path.split("/")[0] for path in (v.path for v in encoder.trainable_variables)} == {"transformer_layer_1"}


@pytest.mark.parametrize(("targets", "number"), [("attention", 8), ("feedforward", 4), ("all", 12)])
def test_adapters_change_nothing_at_first_and_are_merged(targets, number) -> None:
    model = SegmentClassifier(make_preset_encoder(), 3)
    model.build_from_config({})
    batch = rows([2, 7, 8, 9], [2, 5])
    before = answers(model, batch)
    assert len(add_adapters(model.encoder, 2, 4.0, targets)) == len(adapted(model)) == number
    assert len(model.encoder.trainable_variables) == 2 * number
    np.testing.assert_allclose(answers(model, batch), before, atol=1e-6)
    for variable in model.encoder.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape) * 0.3)
    model.predict_function = None
    changed = answers(model, batch)
    assert np.abs(changed - before).max() > 0.01
    merge_adapters(model)
    model.predict_function = None
    assert adapted(model) == []
    np.testing.assert_allclose(answers(model, batch), changed, atol=1e-4)


def test_a_saved_model_is_reloaded_and_needs_kerashub(tmp_path: Path, monkeypatch) -> None:
    model = SegmentClassifier(make_preset_encoder(), 3)
    model.build_from_config({})
    model.save(tmp_path / "model.keras")
    batch = rows([2, 7, 8, 9], [2, 5])
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(answers(loaded, batch), answers(model, batch))
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match=r"the backbone is a KerasHub preset, .* pip install 'tradewind\[hub\]'"):
        PresetEncoder.from_config(model.encoder.get_config())
