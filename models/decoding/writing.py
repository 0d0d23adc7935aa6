"""Texts written one token a step in every row, the likeliest or a drawn one, until all rows have ended."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from models.decoding.choosing import log_probabilities, pick, with_token, without_repeats
from models.decoding.decoding import Decoding, Ids
from models.decoding.reading import Past, Reading
from models.packed import Tensor


class Written(NamedTuple):
    """Texts on the device.

    Attributes:
        tokens: (rows, max_new_tokens) int32. With the end where there is one, then padding.
        scores: (rows,) float32. Sums of their log probabilities.
        finished: (rows,) bool. Whether the end was written.
    """

    tokens: Tensor
    scores: Tensor
    finished: Tensor


def write_on(
    reading: Reading, logits: Tensor, past: Past, decoding: Decoding, ids: Ids, draws: Tensor | None
) -> Written:
    """Return a text for every row.

    Args:
        reading: Reading. Of the prompts.
        logits: (rows, vocabulary). Behind them.
        past: Past. That holds them.
        decoding: Decoding. How.
        ids: Ids. With which ids.
        draws: (rows, max_new_tokens) float32 from [0, 1). For sampling; None: greedily.
    """
    rows, length = logits.shape[0], decoding.max_new_tokens

    def choose(logits: Tensor, step: Tensor, written: Written) -> tuple[Tensor, Written]:
        tokens, scores, finished = written
        log_p = log_probabilities(logits, ids)
        allowed = without_repeats(log_p, tokens, step, decoding.no_repeat_ngram_size)
        chosen = pick(allowed, decoding, None if draws is None else ops.take(draws, step, axis=1))  # (rows,)
        gained = ops.take_along_axis(log_p, chosen[:, None], axis=1)[:, 0]
        scores = ops.where(finished, scores, scores + gained)
        tokens = with_token(tokens, step, ops.where(finished, ids.pad, chosen))
        return chosen, Written(tokens, scores, ops.logical_or(finished, ops.equal(chosen, ids.end)))

    def unfinished(step: Tensor, _chosen: Tensor, written: Written, _past: Past) -> Tensor:
        return ops.logical_and(step < length, ops.logical_not(ops.all(written.finished)))

    def proceed(step: Tensor, chosen: Tensor, written: Written, past: Past) -> tuple[Tensor, Tensor, Written, Past]:
        logits, past = reading.next(past, chosen, step - 1)
        return step + 1, *choose(logits, step, written), past

    blank = ops.full((rows, length), ids.pad, dtype="int32")
    nothing = Written(blank, ops.zeros((rows,), "float32"), ops.zeros((rows,), "bool"))
    first = ops.convert_to_tensor(0, "int32")
    state = (first + 1, *choose(logits, first, nothing), past)
    written: Written = ops.while_loop(unfinished, proceed, state)[2]
    return written
