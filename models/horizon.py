"""The size dial's other half: for how many tokens a model is trained, and in what batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

TOKENS_PER_PARAMETER = 20
# A repeated token teaches a decoder nearly as much as a new one for 4 passes (Muennighoff 2023, arXiv 2305.16264);
# what is hidden from the others is drawn anew in every pass.
MOST_PASSES = {"encoder": 10, "encoder_decoder": 10, "decoder": 4}


@dataclass(frozen=True)
class Horizon:
    """How long a training is.

    Attributes:
        steps: int. Optimizer updates.
        global_batch_size: int. Rows per update.
        sequence_length: int. Tokens per row.
        reasons: tuple of str. The arithmetic of what was derived, a line each.
    """

    steps: int
    global_batch_size: int
    sequence_length: int
    reasons: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens read in all updates together."""
        return self.steps * self.global_batch_size * self.sequence_length


def derive_horizon(
    architecture: str,
    parameters: int,
    rows: int,
    sequence_length: int,
    global_batch_size: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    micro_batch_size: int | None = None,
) -> Horizon:
    """Return how long to train on a corpus; what is given overrides what is derived.

    Tokens: 20 for each parameter, the best use of a fixed number of operations (Hoffmann 2022, arXiv 2203.15556), as
    far as the corpus reaches in 10 passes, of a decoder in 4. Batch: 0.58 tokens^0.571 (Li 2025, arXiv 2503.04715,
    fitted on decoders), to the nearest power of two in rows, or to a multiple of the micro-batch above it.

    Args:
        architecture: str. encoder, decoder or encoder_decoder.
        parameters: int. All that are trained.
        rows: int. Of the corpus.
        sequence_length: int. Tokens per row.
        global_batch_size: int. Rows per update.
        epochs: int. Passes over the corpus.
        steps: int. Updates; leaves `epochs` without effect.
        micro_batch_size: int. Rows per forward pass.
    """
    reasons = []
    corpus = rows * sequence_length
    most = MOST_PASSES[architecture]
    tokens = epochs * corpus if epochs else min(TOKENS_PER_PARAMETER * parameters, most * corpus)
    if not epochs and not steps:
        enough = f"{TOKENS_PER_PARAMETER} x {parameters:,} parameters"
        passes = f"{most} passes over {corpus:,} of the corpus"
        reasons.append(f"horizon {tokens:,} tokens = the smaller of {enough} and {passes}")
    batch = global_batch_size or _batch_rows(tokens, sequence_length, micro_batch_size)
    if not global_batch_size:
        reasons.append(
            f"global_batch_size {batch} rows = {batch * sequence_length:,} tokens, near 0.58 x {tokens:,}^0.571"
        )
    return Horizon(steps or math.ceil(tokens / (batch * sequence_length)), batch, sequence_length, tuple(reasons))


def _batch_rows(tokens: int, sequence_length: int, micro_batch_size: int | None) -> int:
    best = 0.58 * tokens**0.571 / sequence_length
    rows: int = 2 ** max(0, round(math.log2(best)))
    if micro_batch_size and rows > micro_batch_size:
        rows = math.ceil(rows / micro_batch_size) * micro_batch_size
    return rows
