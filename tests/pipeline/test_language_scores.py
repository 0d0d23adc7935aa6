import math

import numpy as np
import pytest
from tiny_models import LENGTH, VOCABULARY, WORDS

from pipeline.config import Pretrain
from pipeline.data.tokens.packing import pack
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.shards import ShardedRows, write_index, write_shards
from pipeline.language_scores import language_scores
from pipeline.training.batches import BatchShape
from pipeline.training.batches.objective import corpus_batches

TEXT_TOKENS, TEXTS = 5, 21


def score(folder, architecture: str, loss: float, text_bytes: int | None, own: slice | None = None) -> dict[str, float]:
    """Return the scores of a corpus of texts of five tokens, each behind the start token."""
    random = np.random.default_rng(1)
    documents = [np.concatenate([[WORDS.start], random.integers(3, VOCABULARY, TEXT_TOKENS)]) for _ in range(TEXTS)]
    packed = pack(Ragged.of(documents), LENGTH, seed=0, pad=WORDS.pad)
    write_index(write_shards(packed, folder, 0, rows_per_shard=4), folder, LENGTH, text_bytes=text_bytes)
    shape = BatchShape(4, 2, own)
    batches = corpus_batches(architecture, Pretrain(), ShardedRows(folder), shape, WORDS, seed=2)
    return language_scores(architecture, batches, loss)


def test_a_decoder_pays_for_every_byte_of_the_texts_once(tmp_path) -> None:
    found = score(tmp_path, "decoder", 1.5, text_bytes=400)
    assert found["perplexity"] == pytest.approx(math.exp(1.5))
    assert found["bits_per_byte"] == pytest.approx(1.5 * TEXTS * TEXT_TOKENS / math.log(2) / 400)


def test_one_of_several_processes_tells_the_scores_of_all_rows(tmp_path) -> None:
    whole = score(tmp_path / "whole", "decoder", 1.5, text_bytes=400)
    assert score(tmp_path / "part", "decoder", 1.5, text_bytes=400, own=slice(0, 1)) == whole


def test_hidden_tokens_pay_for_their_share_of_the_bytes(tmp_path) -> None:
    found = score(tmp_path, "encoder", 2.0, text_bytes=400)
    mean_bytes = 400 / (TEXTS * TEXT_TOKENS)  # of a token
    assert found == {
        "masked_perplexity": pytest.approx(math.exp(2.0)),
        "masked_bits_per_byte": pytest.approx(2.0 / math.log(2) / mean_bytes),
    }


def test_sentinels_of_lost_spans_cost_bits_and_stand_for_no_text(tmp_path) -> None:
    found = score(tmp_path, "encoder_decoder", 2.0, text_bytes=400)
    mean_bytes = 400 / (TEXTS * TEXT_TOKENS)
    assert found["span_perplexity"] == pytest.approx(math.exp(2.0))
    assert found["span_bits_per_byte"] > 1.05 * 2.0 / math.log(2) / mean_bytes


def test_without_the_bytes_of_the_texts_only_the_perplexity_is_told(tmp_path) -> None:
    assert list(score(tmp_path, "decoder", 1.0, text_bytes=None)) == ["perplexity"]
