"""Every fault is told before anything is compiled, with what was found and what to do."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_models import make_corpus
from tiny_steps import make_tokens

from models.parallel import MeshShape, Training
from models.size import derive_dimensions
from pipeline.config import Pretrain
from pipeline.data.tokens.shards import ShardedRows
from pipeline.errors import RecipeError, TrainingError
from pipeline.training.preflight import Load, check_memory, check_optimization, check_rows

TRAINING = Training(derive_dimensions("tiny"), 1000, 128)
LOAD = Load(TRAINING, rows=64)


@pytest.fixture
def tokenizer(tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    return file


@pytest.fixture
def corpus(tmp_path):
    make_corpus(tmp_path / "corpus")
    return tmp_path / "corpus"


def edit(corpus, **entries) -> ShardedRows:
    index = corpus / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | entries))
    return ShardedRows(corpus)


def check(rows: ShardedRows, tokenizer, vocabulary_size: int = 40, max_sequence_length: int = 16) -> None:
    check_rows(rows, "the corpus", tokenizer, vocabulary_size, max_sequence_length)


def test_sound_rows_pass(corpus, tokenizer) -> None:
    check(ShardedRows(corpus), tokenizer)
    check(edit(corpus, tokenizer=hashlib.sha256(tokenizer.read_bytes()).hexdigest()), tokenizer)


def test_preprocessing_writes_which_tokenizer_it_used(tmp_path) -> None:
    tokens = make_tokens(tmp_path)
    hashed = hashlib.sha256((tokens / "tokenizer.json").read_bytes()).hexdigest()
    for folder in ("corpus/train", "corpus/validation", "tasks/kind/test"):
        assert ShardedRows(tokens / folder).tokenizer == hashed


def test_rows_of_another_tokenizer_are_refused(corpus, tokenizer) -> None:
    rows = edit(corpus, tokenizer="f" * 64)
    with pytest.raises(TrainingError, match=r"the corpus was made with another tokenizer \(sha256 ffffffffffff\) than"):
        check(rows, tokenizer)


def test_a_vocabulary_larger_than_the_token_type_is_refused(corpus, tokenizer) -> None:
    for file in corpus.glob("*.token_ids.npy"):
        np.save(file, np.load(file).astype(np.uint16))
    rows = ShardedRows(corpus)
    check(rows, tokenizer, vocabulary_size=65_536)
    with pytest.raises(TrainingError, match="tokens as uint16, which counts to 65535, and the vocabulary has 65537"):
        check(rows, tokenizer, vocabulary_size=65_537)


def test_rows_longer_than_the_model_are_refused(corpus, tokenizer) -> None:
    with pytest.raises(RecipeError, match=r"rows of 16 tokens .* model.max_sequence_length is 15; raise the one or"):
        check(ShardedRows(corpus), tokenizer, max_sequence_length=15)


def test_an_empty_corpus_is_refused(corpus, tokenizer) -> None:
    with pytest.raises(TrainingError, match="the corpus has no rows to train on; add data"):
        check(edit(corpus, rows=0, shards=[]), tokenizer)


@pytest.mark.parametrize(
    ("optimizer", "learning_rate", "steps", "message"),
    [
        ("adamw", 0.1, 0, "the training has 0 updates; set steps or epochs to 1 or more"),
        ("adamw", -0.1, 5, "learning_rate is -0.1; it must be a number above 0"),
        ("adamw", 0.0, 5, "learning_rate is 0.0; it must be a number above 0"),
        ("adamw", float("nan"), 5, "learning_rate is nan; it must be a number above 0"),
        ("shampoo", 0.1, 5, "optimizer is 'shampoo'; it must be one of adamw, adam, muon, lion, sgd"),
    ],
)
def test_optimization_that_cannot_work_is_told(optimizer, learning_rate, steps, message) -> None:
    config = Pretrain.model_construct(optimizer=optimizer)
    check_optimization(config.model_copy(update={"optimizer": "lion"}), 0.1, 1)
    with pytest.raises(RecipeError, match=message):
        check_optimization(config, learning_rate, steps)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning_rate", -0.1, "greater than 0"),
        ("steps", 0, "greater than or equal to 1"),
        ("optimizer", "shampoo", "'adamw', 'adam', 'sgd', 'lion' or 'muon'"),
    ],
)
def test_a_recipe_is_refused_when_it_is_read(key, value, message) -> None:
    with pytest.raises(ValidationError, match=message):
        Pretrain(**{key: value})


def test_too_little_memory_is_told_with_what_would_fit() -> None:
    needed = check_memory(LOAD, 2**60).total
    with pytest.raises(TrainingError) as caught:
        check_memory(LOAD, needed - 1)
    message = str(caught.value)
    assert "of memory (weights 2.1 MB, gradients 2.1 MB, optimizer 4.2 MB, activations" in message
    assert "set runtime.micro_batch_size to 32, which needs" in message
    assert "choose a smaller model.size or preprocess.sequence_length" in message
    assert "precision" not in message
    assert check_memory(replace(LOAD, rows=32), needed - 1).total < needed


def test_where_no_batch_fits_none_is_offered() -> None:
    load = replace(LOAD, training=replace(TRAINING, fused_attention=True), accelerated=True)
    with pytest.raises(TrainingError) as caught:
        check_memory(load, 2_000_000)
    assert "micro_batch_size" not in str(caught.value)
    assert "set runtime.precision to mixed_bfloat16" in str(caught.value)
    half = replace(load, training=replace(load.training, activation_bytes=2))
    assert half.memory().activations * 2 == load.memory().activations


def test_devices_that_each_hold_the_whole_model_are_told_to_share_it() -> None:
    load = replace(LOAD, mesh=MeshShape(data=4))
    with pytest.raises(TrainingError, match=r"give devices of runtime\.mesh\.data to fsdp"):
        check_memory(load, 1)
    assert replace(load, mesh=MeshShape(fsdp=4)).memory().weights < load.memory().weights
