"""Trainings shared by the tests, because compiling one costs more than everything else."""

import keras
import pytest
from tiny_models import Training


@pytest.fixture(scope="session")
def training() -> Training:
    """No dropout, clipping that bites, and weight decay."""
    return Training(clip_norm=0.05)


@pytest.fixture(scope="session")
def dropout_training() -> Training:
    return Training(dropout=0.3)


@pytest.fixture
def precision():
    """Sets a dtype policy for one test."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")
