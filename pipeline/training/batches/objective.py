"""Which batches the model's architecture learns from."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.config import Pretrain
from pipeline.data.tokens.packing import PackedRows
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.training.batches.causal import CausalBatches
from pipeline.training.batches.grouped import GroupedBatches
from pipeline.training.batches.masked import MaskedBatches
from pipeline.training.batches.order import Batch, BatchShape, CorpusBatches, RowRandom
from pipeline.training.batches.spans import SpanBatches


def corpus_batches(
    architecture: str, config: Pretrain, rows: ShardedRows, shape: BatchShape, vocabulary: Vocabulary, seed: int
) -> CorpusBatches:
    """Return masked tokens for an encoder, next tokens for a decoder, corrupted spans for an encoder-decoder."""
    shared: dict[str, Any] = {"rows": rows, "shape": shape, "vocabulary": vocabulary, "seed": seed}
    match architecture:
        case "encoder":
            return MaskedBatches(**shared, mask_fraction=config.mask_fraction)
        case "decoder":
            return CausalBatches(**shared)
        case "encoder_decoder":
            return SpanBatches(**shared, mask_fraction=config.mask_fraction, span_length=config.span_length)
    raise ValueError(f"architecture is {architecture!r}; it must be encoder, decoder or encoder_decoder")


def grouped_batches(
    config: Pretrain, rows: ShardedRows, groups: np.ndarray, shape: BatchShape, vocabulary: Vocabulary, seed: int
) -> GroupedBatches:
    """Return masked tokens, and the group of each document; `groups` is (documents,) int32, -1 for none."""
    return GroupedBatches(rows, shape, vocabulary, seed, config.mask_fraction, groups)


def synthetic_batch(
    architecture: str, config: Pretrain, shape: BatchShape, vocabulary_size: int, sequence_length: int
) -> Batch:
    """Return a batch of the real shapes with random tokens, one document a row; for measuring, without a corpus."""
    random = np.random.default_rng(0)
    size = (shape.global_batch_size, sequence_length)
    vocabulary = Vocabulary(vocabulary_size, pad=0, start=1, mask=2, separator=1, special=frozenset({0, 1, 2}))
    rows = PackedRows(
        random.integers(3, vocabulary_size, size), np.ones(size, np.int32), np.zeros((size[0], 1), np.int32)
    )
    nothing: Any = None
    made = corpus_batches(architecture, config, nothing, shape, vocabulary, seed=0).make(rows, RowRandom.of([0], shape))
    return {name: shape.fold(array) for name, array in made.items()}
