"""What is estimated for a device of a mesh is near what the compiled update needs there."""

import keras
import pytest
from sharded_update import Question, memory_of

from models.parallel import MeshShape, Training, memory_per_device
from models.size import derive_dimensions

DECODER = {"size": "tiny", "architecture": "decoder"}
ENCODER = {"size": "tiny", "architecture": "encoder", "num_layers": 4}
WIDE = {"size": "tiny", "architecture": "decoder", "hidden_dim": 256, "num_heads": 8, "num_key_value_heads": 4}
CASES = [
    Question(DECODER, (4, 1, 1)),
    Question(DECODER, (1, 4, 1), optimizer="lion"),
    Question(ENCODER, (2, 2, 1), rows=16, predictions=13),
    Question(DECODER, (1, 2, 2)),
]
MORE = [
    Question(WIDE, (1, 1, 4), vocabulary_size=512),
    Question(WIDE, (2, 1, 2), length=128, vocabulary_size=512),
    Question(ENCODER, (1, 1, 2), rows=16, predictions=13),
    Question({"size": "tiny", "architecture": "encoder_decoder"}, (1, 2, 2), rows=16, predictions=16),
    Question(DECODER, (1, 4, 1), gather="micro_batch"),
    Question(WIDE, (2, 2, 1), gather="micro_batch", vocabulary_size=512),
]

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="only XLA's program of JAX tells its memory")


def estimate(question: Question) -> int:
    dimensions = derive_dimensions(**question.dimensions)
    share = 1.0 if dimensions.architecture == "decoder" else question.predictions / question.length
    training = Training(
        dimensions, question.vocabulary_size, question.length, share, question.optimizer, gather=question.gather
    )
    return memory_per_device(training, MeshShape(*question.mesh), question.rows).total


def check(questions: list[Question]) -> None:
    for question, needed in zip(questions, memory_of(questions), strict=True):
        ratio = estimate(question) / needed
        assert 0.8 < ratio < 1.25, question


def test_the_estimate_is_near_what_a_device_needs() -> None:
    check(CASES)


@pytest.mark.slow
def test_the_estimate_is_near_in_wider_and_other_models_too() -> None:
    check(MORE)
