import keras
import numpy as np
import pytest
from compiled import value_and_gradients, value_of
from tiny_models import answers, make_decoder, make_encoder, make_encoder_decoder, packed_rows, paired_rows, randomise

MAKERS = {"encoder": make_encoder, "decoder": make_decoder, "encoder-decoder": make_encoder_decoder}
ROW = [[1, 1, 1, 2, 2, 2, 2, 3, 3, 0, 0, 0]]


@pytest.fixture(scope="module", params=["encoder", "decoder"])
def backbone(request):
    return randomise(MAKERS[request.param](num_layers=2), seed=2)


@pytest.fixture(scope="module")
def decoder():
    return randomise(make_decoder(num_layers=2), seed=2)


@pytest.fixture(scope="module")
def encoder_decoder():
    return randomise(make_encoder_decoder(num_layers=2), seed=2)


def rows(tokens, segments, prefix: str = "") -> dict[str, np.ndarray]:
    return {f"{prefix}token_ids": np.array(tokens, np.int32), f"{prefix}segment_ids": np.array(segments, np.int32)}


def assert_same(actual, expected) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def change(actual, expected) -> float:
    return float(np.abs(actual - expected).max())


def test_a_document_is_the_same_alone_and_anywhere_among_others(backbone) -> None:
    document, (one, two) = [5, 9, 4, 31], ([7, 8], [3, 12, 6])
    tokens = [
        [*document, *[0] * 8],
        [*document, *one, *two, *[0] * 3],
        [*one, *document, *two, *[0] * 3],
        [*two, *one, *document, *[0] * 3],
        [*[0] * 8, *document],
    ]
    segments = [
        [1] * 4 + [0] * 8,
        [1] * 4 + [2] * 2 + [3] * 3 + [0] * 3,
        [1] * 2 + [2] * 4 + [3] * 3 + [0] * 3,
        [4] * 3 + [9] * 2 + [2] * 4 + [0] * 3,
        [0] * 8 + [1] * 4,
    ]
    states = answers(backbone, rows(tokens, segments))
    alone = states[0, :4]
    for row, start in ((1, 0), (2, 2), (3, 5), (4, 8)):
        assert_same(states[row, start : start + 4], alone)
    assert_same(answers(backbone, rows([document], [[1] * 4]))[0], alone)  # another shape of input, too
    assert np.abs(alone).mean() > 0.01


def test_neither_neighbours_nor_padding_are_seen(backbone) -> None:
    tokens = [[5, 6, 7, 8, 9, 10, 11, 3, 3, 0, 0, 0]] * 3
    tokens[1] = [30, 31, 32, *tokens[0][3:]]
    tokens[2] = [*tokens[0][:9], 33, 34, 35]
    states = answers(backbone, rows(tokens, ROW * 3))
    assert_same(states[1, 3:9], states[0, 3:9])
    assert_same(states[2, :9], states[0, :9])
    assert change(states[1, :3], states[0, :3]) > 0.01


def test_within_a_document_order_and_distant_tokens_matter(backbone) -> None:
    tokens = [[5, 6, 7, 8, *[0] * 8], [6, 5, 7, 8, *[0] * 8], [20, 6, 7, 8, *[0] * 8]]
    states = answers(backbone, rows(tokens, [[1] * 4 + [0] * 8] * 3))
    assert change(states[1, 3], states[0, 3]) > 1e-3
    assert change(states[2, 3], states[0, 3]) > 1e-3


@pytest.mark.parametrize("name", ["decoder", "encoder-decoder"])
def test_a_later_token_never_changes_an_earlier_state(name, decoder, encoder_decoder) -> None:
    segments, tokens = [[1] * 6 + [2] * 4], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    changed = [[*tokens[:at], 30, *tokens[at + 1 :]] for at in range(10)]
    if name == "decoder":
        states = answers(decoder, rows([tokens, *changed], segments * 11))
    else:
        source = rows([[3, 4, 5, 6, 7, 8]] * 11, [[1, 1, 1, 2, 2, 0]] * 11)
        states = answers(encoder_decoder, source | rows([tokens, *changed], segments * 11, "decoder_"))
    for at in range(10):
        end = 6 if at < 6 else 10
        assert_same(states[at + 1, :at], states[0, :at])
        for later in range(at, end):  # the changed token, and all that follow it in its segment
            assert change(states[at + 1, later], states[0, later]) > 1e-4


def test_an_encoder_looks_ahead() -> None:
    encoder = randomise(make_encoder(num_layers=2), seed=2)
    states = answers(encoder, rows([[5, 6, 7, 8], [5, 6, 7, 30]], [[1] * 4] * 2))
    assert change(states[1, 0], states[0, 0]) > 1e-3


def test_a_decoder_segment_sees_only_its_own_encoder_segment(encoder_decoder) -> None:
    source = [[5, 6, 7, 8, 9, 10, 11, 3, 3, 0, 0, 0]] * 5
    source[1] = [30, 31, 32, *source[0][3:]]  # segment 1
    source[2] = [*source[0][:3], 30, *source[0][4:]]  # segment 2
    source[3] = [*source[0][:9], 33, 34, 35]  # padding
    target = [[4, 5, 6, 7, 8, 9, 0, 0]] * 5
    target[4] = [4, 5, 30, 7, 8, 9, 0, 0]  # segment 2, on the decoder's side
    inputs = rows(source, ROW * 5) | rows(target, [[1, 1, 2, 2, 3, 3, 0, 0]] * 5, "decoder_")
    states = answers(encoder_decoder, inputs)
    assert change(states[1, :2], states[0, :2]) > 1e-3
    assert_same(states[1, 2:6], states[0, 2:6])
    assert change(states[2, 2:4], states[0, 2:4]) > 1e-3
    assert_same(states[2, [0, 1, 4, 5]], states[0, [0, 1, 4, 5]])
    assert_same(states[3, :6], states[0, :6])
    assert_same(states[4, [0, 1, 4, 5]], states[0, [0, 1, 4, 5]])


def test_a_pair_is_the_same_alone_and_packed(encoder_decoder) -> None:
    alone = rows([[7, 8, 9]], [[1, 1, 1]]) | rows([[4, 5]], [[1, 1]], "decoder_")
    packed = rows([[11, 12, 7, 8, 9, 0]], [[1, 1, 2, 2, 2, 0]])
    packed |= rows([[20, 21, 22, 4, 5, 0]], [[1, 1, 1, 2, 2, 0]], "decoder_")
    assert_same(answers(encoder_decoder, packed)[0, 3:5], answers(encoder_decoder, alone)[0])


def test_states_at_positions_are_the_full_states_there(backbone) -> None:
    inputs = {name: keras.ops.convert_to_tensor(array) for name, array in packed_rows(seed=3).items()}
    random = np.random.default_rng(6)
    towards = keras.ops.convert_to_tensor(random.normal(size=(6, 3, 8)).astype(np.float32))

    def few():
        return keras.ops.sum(backbone.states_at(inputs, inputs["positions"]) * towards)

    def all_then_few():
        states = backbone(inputs)
        return keras.ops.sum(keras.ops.take_along_axis(states, inputs["positions"][:, :, None], axis=1) * towards)

    actual = value_of(lambda: backbone.states_at(inputs, inputs["positions"]))
    everywhere = answers(backbone, packed_rows(seed=3))
    where = keras.ops.convert_to_numpy(inputs["positions"])[:, :, None]
    assert_same(actual, np.take_along_axis(everywhere, where, axis=1))
    found, expected = value_and_gradients(few, backbone), value_and_gradients(all_then_few, backbone)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert max(np.abs(gradient).max() for gradient in found[1:]) > 0.1


def test_a_row_whose_decoder_alone_is_padded_has_finite_gradients(encoder_decoder) -> None:
    inputs = rows([[5, 6, 7, 8]], [[1] * 4]) | rows([[4, 5, 0, 0]], [[1, 1, 0, 0]], "decoder_")
    inputs = {name: keras.ops.convert_to_tensor(array) for name, array in inputs.items()}
    found = value_and_gradients(lambda: keras.ops.sum(encoder_decoder(inputs)[:, :2, 0]), encoder_decoder)
    assert all(np.isfinite(array).all() for array in found)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_untied_embeddings_have_a_projection_of_their_own(make) -> None:
    for tied in (True, False):
        model = randomise(make(tie_embeddings=tied), seed=4)
        table, *own = getattr(model, "encoder", model).embedding.get_weights()
        projection = table.T if tied else own[0]
        hidden = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
        logits = keras.ops.convert_to_numpy(model.vocabulary_logits(keras.ops.convert_to_tensor(hidden)))
        np.testing.assert_allclose(logits, hidden @ projection, rtol=0, atol=1e-5)
        assert len(own) == (0 if tied else 1)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_config_keeps_every_option(make) -> None:
    options = {"feedforward": "relu2", "query_key_norm": False, "tie_embeddings": False}
    model = make(dropout=0.1, **options)
    twin = type(model).from_config(model.get_config())
    for each in (model, twin):
        each.build(each.input_shapes)
    assert twin.architecture() == model.architecture()
    assert {name: twin.architecture()[name] for name in options} == options
    assert [(w.name, w.shape) for w in twin.weights] == [(w.name, w.shape) for w in model.weights]
    assert not any("query_norm" in w.path for w in model.weights)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_dropout_acts_in_training_only(make) -> None:
    model = randomise(make(dropout=0.5), seed=5)
    inputs = {name: keras.ops.convert_to_tensor(array) for name, array in paired_rows().items()}

    trained = value_of(lambda: model(inputs, training=True))
    evaluated = value_of(lambda: model(inputs, training=False))
    assert change(trained, evaluated) > 0.1
    assert_same(evaluated, answers(model, paired_rows()))
    embedded = getattr(model, "encoder", model).embedding_dropout(np.ones((4, 8), np.float32), training=True)
    assert set(np.unique(keras.ops.convert_to_numpy(embedded))) == {0.0, 2.0}
