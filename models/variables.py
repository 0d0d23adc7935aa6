"""Variables that a layer has for a time: of an adapter, of a low precision."""

from __future__ import annotations

import keras


def remove_variable(layer: keras.layers.Layer, name: str) -> None:
    """Remove a variable from a layer, as `delattr` does, but for the search of the whole heap that Keras adds to it."""
    layer._untrack_variable(getattr(layer, name))
    object.__delattr__(layer, name)
