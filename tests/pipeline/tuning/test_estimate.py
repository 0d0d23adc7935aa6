import pytest
from tiny_models import make_classifier

from models.freezing import HeadOnly, freeze, train_top
from models.lora import add_adapters
from pipeline.config import Finetune
from pipeline.training.optimizer import make_optimizer
from pipeline.tuning.estimate import Estimate, estimate


def numbers(prepare=lambda model: model, **config) -> Estimate:
    model = make_classifier()
    trained = prepare(model)
    optimizer = make_optimizer(Finetune(**config), 0.01, 10, trained)
    return estimate(model, trained, model.encoder, optimizer, rows=4, sequence_length=16)


def top_block(model):
    train_top(model.encoder, 1)
    return model


def head(model):
    freeze(model.encoder)
    return HeadOnly(model, model.encoder)


def adapters(model):
    add_adapters(model.encoder, 2, 4.0, "attention")
    return model


def test_memory_falls_with_what_is_trained() -> None:
    whole, top, small = numbers(), numbers(top_block), numbers(head)
    assert whole.trainable_parameters == whole.parameters == top.parameters == small.parameters
    assert small.trainable_parameters == 8 * 3 + 3
    for found in (whole, top, small):
        assert found.optimizer_slots == 2 * found.trainable_parameters
        assert found.memory.weights == 4 * found.parameters
        assert found.memory.gradients == 4 * found.trainable_parameters
        assert found.memory.optimizer == 4 * found.optimizer_slots
    assert whole.memory.activations > top.memory.activations > small.memory.activations > 0


def test_adapters_lie_in_every_block_and_an_average_is_counted() -> None:
    found = numbers(adapters, ema_decay=0.9)
    # Two blocks; query and output are 8 x 8, key and value 8 x 4, each with a rank of 2.
    assert found.trainable_parameters == 2 * 2 * (16 + 16 + 12 + 12) + 27
    assert found.optimizer_slots == 3 * found.trainable_parameters
    assert found.memory.activations == numbers().memory.activations


def test_it_is_said_in_words() -> None:
    found = numbers(head)
    share = 27 / found.parameters
    sentence = found.sentence("feature_extraction")
    assert sentence.startswith(
        f"method feature_extraction: 27 of {found.parameters:,} parameters are trained ({share:.1%}), with 54 numbers"
    )
    assert sentence.endswith("weights 0.0, gradients 0.0, optimizer 0.0, activations 0.0")
    assert share == pytest.approx(0.02, abs=0.01)
