"""What is computed beforehand is what real models have, compute and keep."""

from functools import partial

import keras
import numpy as np
import pytest

from models.backbones import Decoder, Encoder, EncoderDecoder
from models.cost import GroupHead, block_kernels, flops_per_token, optimizer_slots, parameters
from models.explain import explain
from models.language_models import CausalLanguageModel, GroupedLanguageModel, MaskedLanguageModel, SpanLanguageModel
from models.objectives import token_prediction, tokens_and_groups
from models.parallel import DeviceMemory, MeshShape, Training, memory_per_device
from models.size import derive_dimensions

BACKEND = keras.backend.backend()
VOCABULARY, ROWS, LENGTH, PREDICTIONS = 50, 2, 12, 3
CLASSES = {
    "encoder": (Encoder, MaskedLanguageModel),
    "decoder": (Decoder, CausalLanguageModel),
    "encoder_decoder": (EncoderDecoder, SpanLanguageModel),
}
SEGMENTS, GROUPS = 4, 30
GROUPED = GroupHead(GROUPS, SEGMENTS / LENGTH)
VARIANTS = [
    {},
    {"num_layers": 3, "num_key_value_heads": 2, "feedforward_dim": 10, "feedforward": "relu2"},
    {"query_key_norm": False, "tie_embeddings": False, "num_key_value_heads": 1},
]


def derive(architecture: str, **overrides):
    width = {"num_layers": 2, "hidden_dim": 16, "num_heads": 4} | overrides
    return derive_dimensions("tiny", architecture=architecture, **width)


def make_model(dimensions, vocabulary_size=VOCABULARY, groups=0):
    backbone, model = CLASSES[dimensions.architecture]
    if groups:
        model = partial(GroupedLanguageModel, num_groups=groups)
    made = model(
        backbone(
            vocabulary_size,
            dimensions.num_layers,
            dimensions.hidden_dim,
            dimensions.num_heads,
            dimensions.num_key_value_heads,
            dimensions.feedforward_dim,
            feedforward=dimensions.feedforward,
            query_key_norm=dimensions.query_key_norm,
            tie_embeddings=dimensions.tie_embeddings,
        )
    )
    made.build_from_config({})
    return made


def make_batch(architecture: str, rows=ROWS, length=LENGTH, predictions=PREDICTIONS, segments=0) -> dict:
    batch = {"token_ids": np.ones((rows, length), np.int32), "segment_ids": np.ones((rows, length), np.int32)}
    count = length if architecture == "decoder" else predictions
    if architecture == "encoder":
        batch["positions"] = np.tile(np.arange(predictions, dtype=np.int32), (rows, 1))
    if architecture == "encoder_decoder":
        batch["decoder_token_ids"] = batch["decoder_segment_ids"] = np.ones((rows, predictions), np.int32)
    if segments:
        batch["groups"] = np.ones((rows, segments), np.int32)
        batch["group_weights"] = np.ones((rows, segments), np.float32)
    return batch | {"targets": np.ones((rows, count), np.int32), "weights": np.ones((rows, count), np.float32)}


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("overrides", VARIANTS)
def test_parameters_are_those_of_the_model(architecture, overrides) -> None:
    dimensions = derive(architecture, **overrides)
    model, counted = make_model(dimensions), parameters(dimensions, VOCABULARY)
    sizes = {variable.path: int(np.prod(variable.shape)) for variable in model.trainable_variables}
    assert counted.total == sum(sizes.values())
    assert counted.backbone == sum(int(np.prod(v.shape)) for v in model.backbone.trainable_variables)
    assert counted.embedding == sum(size for path, size in sizes.items() if "/embedding/" in path)
    blocks = [v for v in model.trainable_variables if "/block_" in v.path and len(v.shape) == 2]
    assert block_kernels(dimensions) == sum(int(np.prod(v.shape)) for v in blocks)
    assert f"{counted.total:,} parameters" in "\n".join(explain(dimensions, VOCABULARY))


def test_what_tells_groups_apart_is_counted() -> None:
    dimensions = derive("encoder")
    model, counted = make_model(dimensions, groups=GROUPS), parameters(dimensions, VOCABULARY, GROUPED)
    assert counted.total == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    plain, grouped = (
        memory_estimate(dimensions, VOCABULARY, 2, LENGTH),
        memory_estimate(dimensions, VOCABULARY, 2, LENGTH, groups=GROUPED),
    )
    assert grouped.weights - plain.weights == 4 * GROUPS * 17
    assert grouped.optimizer - plain.optimizer == 8 * GROUPS * 17


@pytest.mark.skipif(BACKEND != "jax", reason="JAX shows every product of a program, fused attention's too")
@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("overrides", VARIANTS)
def test_operations_are_those_of_the_matrix_products(architecture, overrides) -> None:
    dimensions = derive(architecture, **overrides)
    expected = flops_per_token(dimensions, VOCABULARY, LENGTH, PREDICTIONS / LENGTH) * ROWS * LENGTH
    assert count_operations(make_model(dimensions), make_batch(architecture)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(BACKEND != "jax", reason="JAX shows every product of a program, fused attention's too")
def test_operations_of_groups_are_those_of_the_matrix_products() -> None:
    dimensions = derive("encoder")
    expected = flops_per_token(dimensions, VOCABULARY, LENGTH, PREDICTIONS / LENGTH, GROUPED) * ROWS * LENGTH
    batch = make_batch("encoder", segments=SEGMENTS)
    # No gradient goes to which token is of which document, so of that product backward makes one of two.
    expected -= 2 * ROWS * SEGMENTS * LENGTH * dimensions.hidden_dim
    assert count_operations(make_model(dimensions, groups=GROUPS), batch) == pytest.approx(expected, rel=1e-6)


def objective_of(batch):
    return partial(tokens_and_groups, group_weight=1.0) if "groups" in batch else token_prediction


def count_operations(model, batch) -> float:
    import jax

    def loss(weights):
        with keras.StatelessScope(state_mapping=list(zip(model.trainable_variables, weights, strict=True))):
            return objective_of(batch)(model, batch, training=True).loss

    weights = [variable.value for variable in model.trainable_variables]
    return count_products(jax.make_jaxpr(jax.grad(loss))(weights).jaxpr)


def count_products(jaxpr) -> float:
    """Return the operations of every matrix product in a program and in the programs it calls."""
    from jax.extend.core import jaxprs_in_params

    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, (result,) = equation.invars[0].aval.shape, equation.outvars
            total += 2 * np.prod(result.aval.shape) * np.prod([left[axis] for axis in contracted])
        total += sum(count_products(inner) for inner in jaxprs_in_params(equation.params))
    return float(total)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_the_optimizer_keeps_what_is_estimated(name) -> None:
    dimensions = derive("decoder")
    model = make_model(dimensions)
    options = {"momentum": 0.9} if name == "sgd" else {}
    optimizer = keras.optimizers.get({"class_name": name, "config": options})
    optimizer.build(model.trainable_variables)
    slots = sum(int(np.prod(v.shape)) for v in optimizer.variables if len(v.shape))
    assert optimizer_slots(dimensions, VOCABULARY, name) == slots


def memory_estimate(dimensions, vocabulary_size, rows, length, share=1.0, **options) -> DeviceMemory:
    return memory_per_device(Training(dimensions, vocabulary_size, length, share, **options), MeshShape(), rows)


def test_an_average_of_the_weights_and_gradients_cost_as_much_as_the_weights() -> None:
    dimensions = derive("encoder")
    plain = memory_estimate(dimensions, VOCABULARY, 2, LENGTH, optimizer="lion")
    averaged = memory_estimate(dimensions, VOCABULARY, 2, LENGTH, optimizer="lion", ema=True)
    assert plain.weights == plain.gradients == plain.optimizer == 4 * parameters(dimensions, VOCABULARY).total
    assert averaged.total - plain.total == plain.weights
    assert plain.total == plain.weights + plain.gradients + plain.optimizer + plain.activations


def test_activations_grow_with_rows_and_shrink_in_half_precision_and_without_scores() -> None:
    dimensions = derive("decoder")

    def activations(rows=4, **options) -> int:
        return memory_estimate(dimensions, VOCABULARY, rows, 64, **options).activations

    assert activations(8) == 2 * activations()
    assert activations(activation_bytes=2) == activations() // 2
    assert activations() - activations(fused_attention=True) == 4 * 64 * (2 * 4 * 64 * 3) * 4


def test_an_unknown_optimizer_is_told() -> None:
    with pytest.raises(ValueError, match="optimizer is 'shampoo'; it must be one of adamw, adam, sgd, lion, muon"):
        memory_estimate(derive("encoder"), VOCABULARY, 2, LENGTH, optimizer="shampoo")


@pytest.mark.skipif(BACKEND != "jax", reason="only XLA's program of JAX tells its memory beforehand")
def test_the_estimate_with_groups_is_near_what_the_compiled_update_needs() -> None:
    groups, segments = 1500, 32
    dimensions, rows, length, predictions = derive_dimensions("tiny", architecture="encoder"), 16, 128, 25
    batch = make_batch("encoder", rows, length, predictions, segments)
    needed = memory_on_jax(make_model(dimensions, 2048, groups), batch)
    head = GroupHead(groups, segments / length)
    estimated = memory_estimate(dimensions, 2048, rows, length, predictions / length, groups=head)
    assert 0.75 < estimated.total / needed < 1.35


@pytest.mark.skipif(BACKEND != "jax", reason="only XLA's program of JAX tells its memory beforehand")
@pytest.mark.parametrize(
    ("architecture", "overrides", "rows", "length"),
    [
        ("encoder", {}, 16, 128),
        ("decoder", {"num_key_value_heads": 1, "feedforward": "relu2"}, 8, 64),
        pytest.param("encoder_decoder", {"hidden_dim": 64, "num_layers": 1}, 16, 96, marks=pytest.mark.slow),
    ],
)
def test_the_estimate_is_near_what_the_compiled_update_needs(architecture, overrides, rows, length) -> None:
    dimensions = derive_dimensions("tiny", architecture=architecture, **overrides)
    predictions = length // 5
    share = 1.0 if architecture == "decoder" else predictions / length
    needed = memory_on_jax(make_model(dimensions, 2048), make_batch(architecture, rows, length, predictions))
    estimated = memory_estimate(dimensions, 2048, rows, length, share)
    assert 0.75 < estimated.total / needed < 1.35


def memory_on_jax(model, batch) -> int:
    import jax

    from pipeline.training.jax_stepper import JaxStepper

    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.build(model.trainable_variables)
    stepper = JaxStepper(model, optimizer, objective_of(batch))
    batch = jax.tree.map(lambda array: array[None], batch)
    used = stepper._update.lower(stepper.state, batch).compile().memory_analysis()
    return used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
