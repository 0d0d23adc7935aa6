import keras
import numpy as np
import pytest
from tiny_models import answers, make_classifier, make_encoder, packed_rows, randomise

from models.lora import add_adapters, merge_adapters
from models.projection import Projection


def lora_names(model) -> set[str]:
    return {variable.name for variable in model.trainable_variables if "lora" in variable.name}


def spread(projections) -> None:
    """Give the second kernels values, which are zeros at first."""
    random = np.random.default_rng(3)
    for projection in projections:
        kernel = projection.lora_kernel_b
        kernel.assign(random.normal(size=kernel.shape) * 0.5)


@pytest.mark.parametrize(("targets", "number"), [("attention", 4), ("feedforward", 3), ("all", 7)])
def test_adapters_start_at_no_change_and_are_all_that_is_trained_beside_the_head(targets, number) -> None:
    model = make_classifier()
    before = answers(model, packed_rows())
    projections = add_adapters(model.encoder, 2, 4.0, targets)
    assert len(projections) == number * 2  # blocks
    np.testing.assert_allclose(answers(model, packed_rows()), before, atol=1e-6)
    trained = [variable.name for variable in model.trainable_variables]
    assert sorted(trained) == sorted(["lora_kernel_a", "lora_kernel_b"] * number * 2 + ["kernel", "bias"])


def test_an_adapter_is_its_formula() -> None:
    layer = Projection(5, activation="relu")
    layer.build((None, 3))
    layer.enable_lora(2, lora_alpha=6.0)
    spread([layer])
    inputs = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    kernel, down, up = (np.array(v) for v in (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b))
    expected = np.maximum(inputs @ kernel + 3.0 * (inputs @ down @ up), 0)
    np.testing.assert_allclose(np.array(layer(inputs)), expected, rtol=1e-5, atol=1e-6)


def test_merged_they_answer_the_same_and_leave_nothing_behind() -> None:
    model = make_classifier()
    plain = answers(model, packed_rows())
    paths = [variable.path for variable in model.weights]
    spread(add_adapters(model.encoder, 2, 4.0, "all"))
    adapted = answers(make_fresh_program(model), packed_rows())
    merge_adapters(model)
    assert [variable.path for variable in model.weights] == paths
    assert not lora_names(model)
    merged = answers(make_fresh_program(model), packed_rows())
    np.testing.assert_allclose(merged, adapted, atol=1e-5)
    assert np.abs(merged - plain).max() > 0.01
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(answers(again, packed_rows()), merged, atol=1e-6)


def make_fresh_program(model):
    model.predict_function = None  # was traced with other variables
    return model


def test_what_cannot_be_adapted_is_told() -> None:
    encoder = randomise(make_encoder(), 0)
    encoder.stack.blocks[0].attention.query.quantize("int8", type_check=False)
    with pytest.raises(ValueError, match=r"query is quantised \(int8\), and an adapter is merged"):
        add_adapters(encoder, 2, 4.0, "all")
    assert all(variable.trainable for variable in encoder.stack.blocks[0].attention.key.weights)
    encoder = randomise(make_encoder(), 0)
    add_adapters(encoder, 2, 4.0, "attention")
    with pytest.raises(ValueError, match="has an adapter already; merge it first"):
        add_adapters(encoder, 2, 4.0, "all")
    with pytest.raises(ValueError, match="has no projections of attention"):
        add_adapters(keras.Sequential([keras.layers.Dense(2)]), 2, 4.0, "attention")
