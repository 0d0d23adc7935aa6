"""How many tokens of a row are predicted, and how many ids that takes; known without a backend."""

from __future__ import annotations

from pipeline.config import Pretrain


def num_masked(sequence_length: int, mask_fraction: float) -> int:
    """Return how many positions of an encoder's row are predicted."""
    return max(1, round(mask_fraction * sequence_length))


def num_sentinels(sequence_length: int, mask_fraction: float, span_length: float) -> int:
    """Return how many spans a row loses, and so how many sentinels stand behind the tokenizer's ids."""
    return max(1, round(sequence_length * mask_fraction / span_length))


def decoder_length(sequence_length: int, mask_fraction: float, span_length: float) -> int:
    """Return the width of an encoder-decoder's second row: every lost token, and every sentinel."""
    return round(sequence_length * mask_fraction) + num_sentinels(sequence_length, mask_fraction, span_length)


def predictions_per_token(architecture: str, config: Pretrain, sequence_length: int) -> float:
    """Return the predicted tokens per token that is read: `predictions_per_token` of `models.cost.flops_per_token`."""
    match architecture:
        case "encoder":
            return num_masked(sequence_length, config.mask_fraction) / sequence_length
        case "encoder_decoder":
            return decoder_length(sequence_length, config.mask_fraction, config.span_length) / sequence_length
        case _:
            return 1.0


def embedding_rows(architecture: str, config: Pretrain, vocabulary_size: int, sequence_length: int) -> int:
    """Return how many ids the model embeds: the tokenizer's, and the sentinels of an encoder-decoder behind them."""
    if architecture != "encoder_decoder":
        return vocabulary_size
    return vocabulary_size + num_sentinels(sequence_length, config.mask_fraction, config.span_length)
