import gc
import weakref
from itertools import pairwise

import keras
import numpy as np
import pytest
from tiny_models import VOCABULARY, make_causal_model, make_masked_model
from token_by_token import ENDS, MAKERS, PAD, START, check, greedy, make_decided, make_prompts, next_logits

from models.decoding import Decoding, generate
from models.decoding.program import compiled
from models.decoding.reading import begin

LIMIT = 12
IDS = {"start": START, "end": 2, "pad": PAD}


@pytest.fixture(scope="module", params=MAKERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    return make_decided(kind)


def cached_logits(model, prompts, tokens) -> np.ndarray:
    """Return the logits behind each prompt and behind each of `tokens`, (rows, new), read one after the other."""
    width = max(len(prompt) for prompt in prompts)
    padded = np.stack([np.pad(prompt, (0, width - len(prompt))) for prompt in prompts]).astype(np.int32)
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    if hasattr(model.backbone, "encoder"):
        one = np.ones(len(prompts), np.int32)
        segments = (np.arange(width) < lengths[:, None]).astype(np.int32)
        sources = {"source_token_ids": padded, "source_segment_ids": segments}
        inputs = {"token_ids": one[:, None] * START, "lengths": one} | sources
    else:
        inputs = {"token_ids": padded, "lengths": lengths}

    def read(model, inputs):
        reading, logits, past = begin(model.backbone, inputs, tokens.shape[1])
        found = [logits]
        for step in range(tokens.shape[1]):
            position = keras.ops.convert_to_tensor(step, "int32")
            logits, past = reading.next(past, inputs["new"][:, step], position)
            found.append(logits)
        return keras.ops.cast(keras.ops.stack(found, axis=1), "float32")

    return keras.ops.convert_to_numpy(compiled(model, read)(inputs | {"new": tokens}))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_cached_logits_are_those_of_whole_rows(kind, precision) -> None:
    keras.config.set_dtype_policy(precision)
    try:
        model = make_decided(kind)
    finally:
        keras.config.set_dtype_policy("float32")
    prompts = make_prompts([4, 1, 6])
    tokens = np.random.default_rng(1).integers(3, VOCABULARY, (3, 3)).astype(np.int32)
    actual = cached_logits(model, prompts, tokens)
    expected = [
        [next_logits(model, prompt, list(new[:count])) for count in range(4)]
        for prompt, new in zip(prompts, tokens, strict=True)
    ]
    scale = np.abs(expected).max()
    tolerance = 1e-5 if precision == "float32" else 0.03
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def test_greedy_texts_of_a_ragged_batch_are_those_of_each_row_alone(kind, model, tmp_path) -> None:
    end, prompts = ENDS[kind], make_prompts([5, 1, 9, 3, 12, 7, 2])
    expected = [greedy(model, prompt, end, LIMIT, 6) for prompt in prompts]
    lengths = {len(tokens) for tokens, _, finished in expected if finished}
    assert len(lengths) > 1
    assert not all(finished for _, _, finished in expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    ids = {"start": START, "end": end, "pad": PAD, "vocabulary_size": LIMIT}
    # Two batches, the second of which is filled up.
    check(generate(loaded, prompts, Decoding(6), **ids, batch_size=4), expected)


def test_a_sample_depends_on_its_prompt_and_the_seed_alone() -> None:
    model, prompts = make_causal_model(), make_prompts([3, 7, 5])
    decoding = Decoding(8, temperature=1.5, top_k=30, top_p=0.95)

    def texts(prompts, seed):
        return [list(text) for text in generate(model, prompts, decoding, **IDS, seed=seed).tokens]

    together = texts(prompts, 4)
    assert texts(prompts[1:2], 4) == together[1:2]
    assert texts(prompts[::-1], 4) == together[::-1]
    assert texts(prompts, 5) != together
    assert len({tuple(text) for text in together}) == 3
    assert all(START not in text and PAD not in text for text in together)


def test_no_sequence_is_written_twice() -> None:
    model, prompts = make_decided("causal"), make_prompts([4, 2])
    for text in generate(model, prompts, Decoding(12, no_repeat_ngram_size=2), **IDS).tokens:
        pairs = list(pairwise(text))
        assert len(set(pairs)) == len(pairs) == 11


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch compiles nothing here")
def test_a_program_is_compiled_once_reads_the_weights_anew_and_goes_with_its_model(monkeypatch) -> None:
    traced = []

    def counted(*arguments):
        traced.append(1)
        return begin(*arguments)

    monkeypatch.setattr("models.decoding.program.begin", counted)
    model, prompts = make_causal_model(seed=3), make_prompts([3, 5])
    before = generate(model, prompts, Decoding(2), **IDS)
    for variable in model.trainable_variables:
        variable.assign(-variable.value)
    after = generate(model, make_prompts([3, 5]), Decoding(2), **IDS)
    assert traced == [1]
    assert not np.array_equal(after.scores, before.scores)
    gone = weakref.ref(model)
    del model, variable
    gc.collect()
    assert gone() is None


def test_no_prompts_have_no_texts() -> None:
    generated = generate(make_causal_model(), [], Decoding(3), **IDS)
    assert generated.tokens == []
    assert generated.scores.shape == generated.finished.shape == (0,)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[3], []], r"prompt 1 has the shape \(0,\)"),
        ([[3, 4], [5, 40]], "prompt 1 has the id 40 at position 1; the model's ids are 0 to 39"),
        ([[3, -1]], "prompt 0 has the id -1"),
        ([[0.5]], "prompt 0 has the type float64"),
        ([[3] * 10], "prompt 0 has 10 tokens, and the model was trained on rows of 9"),
    ],
)
def test_a_wrong_prompt_is_named(prompts, message) -> None:
    with pytest.raises(ValueError, match=message):
        generate(make_causal_model(), [np.array(p) for p in prompts], Decoding(3), **IDS, longest_row=9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary_size": 41}, "vocabulary_size is 41; it must be from 1 to 40"),
        ({"vocabulary_size": 2}, "end is 2; it must be from 0 to 1"),
        ({"pad": 40}, "pad is 40"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_wrong_id_is_named(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        generate(make_causal_model(), [], Decoding(3), **(IDS | changes))


def test_a_masked_model_writes_nothing() -> None:
    with pytest.raises(ValueError, match="a MaskedLanguageModel writes no text"):
        generate(make_masked_model(), make_prompts([3]), Decoding(3), **IDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p is 0.0; it must be above 0"),
        ({"temperature": 1.0, "num_beams": 2}, "beam search draws no samples"),
        ({"top_k": 5}, "temperature 0 draws no samples"),
        ({"length_penalty": float("inf")}, "length_penalty is inf"),
    ],
)
def test_a_decoding_that_makes_no_sense_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Decoding(**({"max_new_tokens": 4} | arguments))
