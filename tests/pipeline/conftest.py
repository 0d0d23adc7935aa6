"""Keras is told its backend before a test imports it: KERAS_BACKEND, else the first one installed."""

import os

from pipeline.backend import select_backend

select_backend(os.environ.get("KERAS_BACKEND", "auto"))
