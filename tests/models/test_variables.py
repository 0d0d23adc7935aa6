"""A variable that is removed from a layer is gone from all that Keras keeps of it."""

import keras

from models.variables import remove_variable


def test_what_is_removed_is_no_weight_of_the_layer_and_no_attribute() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    remove_variable(layer, "bias")
    assert not hasattr(layer, "bias")
    assert [variable.name for variable in layer.weights] == ["kernel"]
    assert len(layer.trainable_variables) == 1
