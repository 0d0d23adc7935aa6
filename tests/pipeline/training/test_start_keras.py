"""A training on another backend than TensorFlow does not import TensorFlow, which takes seconds and half a gigabyte."""

import os
import subprocess
import sys

import keras
import pytest

from pipeline.training.assembly import start_keras

STARTS = """
import sys
from pipeline.training.assembly import start_keras
start_keras("float32", 7)
import keras
print("tensorflow" in sys.modules, float(keras.random.normal(())))
import tensorflow
print(tensorflow.constant(1).numpy())
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX is always there beside TensorFlow")
def test_jax_starts_from_the_seed_without_tensorflow() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    loaded, drawn, afterwards = process.stdout.split()
    start_keras("float32", 7)
    assert (loaded, float(drawn)) == ("False", float(keras.random.normal(())))
    assert afterwards == "1", "who asks for TensorFlow later gets it"
