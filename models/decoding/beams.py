"""Beam search: several unfinished texts of a row are followed at once, and its best finished one is kept.

Only the best is returned, so no more than one finished text is held, and a row is done when no unfinished one can
reach its score. log p is never above 0, so the score that an unfinished text can still reach has its sum now and the
length that suits the penalty: the longest when long texts are favoured, else the next one. Stopping by the length now,
or for all rows at once, is what made other searches depend on the batch (transformers, #20901 and #38778).
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from models.decoding.choosing import NEVER, log_probabilities, with_token, without_repeats
from models.decoding.decoding import Decoding, Ids
from models.decoding.reading import Past, Reading
from models.decoding.writing import Written
from models.packed import Tensor


class Beams(NamedTuple):
    """The texts of a search. Of each row, beams are in the order of their sums, the best first.

    Attributes:
        tokens: (rows, beams, length) int32. The unfinished ones.
        sums: (rows, beams) float32. Of their log probabilities; minus infinity: there is no such text.
        best: Written. The best finished text of each row, (rows, length).
        score: (rows,) float32. Its score; minus infinity: none has ended.
    """

    tokens: Tensor
    sums: Tensor
    best: Written
    score: Tensor


def search(reading: Reading, logits: Tensor, past: Past, decoding: Decoding, ids: Ids) -> Written:
    """Return each row's finished text of the best score, or, where none has ended, the likeliest unfinished one.

    Args:
        reading: Reading. Of the prompts.
        logits: (rows, vocabulary). Behind them.
        past: Past. That holds them.
        decoding: Decoding. How.
        ids: Ids. With which ids.
    """
    rows, width, length = logits.shape[0], decoding.num_beams, decoding.max_new_tokens
    beams = Beams(
        tokens=ops.full((rows, width, length), ids.pad, dtype="int32"),
        # At first all beams are the same text, of which one counts.
        sums=ops.tile(ops.where(ops.arange(width) > 0, NEVER, 0.0)[None, :], (rows, 1)),
        best=Written(
            ops.full((rows, length), ids.pad, dtype="int32"), ops.zeros((rows,), "float32"), ops.zeros((rows,), "bool")
        ),
        score=ops.full((rows,), NEVER, dtype="float32"),
    )
    reading = reading.repeated(width)
    offsets = ops.arange(rows, dtype="int32")[:, None] * width

    def proceed(step: Tensor, last: Tensor, parents: Tensor, beams: Beams, past: Past) -> tuple[Tensor, ...]:
        flat = ops.reshape(parents + offsets, (-1,))
        past = tuple((ops.take(key, flat, axis=0), ops.take(value, flat, axis=0)) for key, value in past)
        logits, past = reading.next(past, ops.reshape(last, (-1,)), step - 1)
        return step + 1, *advance(beams, logits, step, decoding, ids), past

    def undecided(step: Tensor, _last: Tensor, _parents: Tensor, beams: Beams, _past: Past) -> Tensor:
        reachable = ops.maximum(*(score_of(beams.sums[:, 0], size, decoding) for size in (step + 1, length)))
        return ops.logical_and(step < length, ops.any(reachable > beams.score))

    first = ops.convert_to_tensor(0, "int32")
    last, parents, beams = advance(beams, ops.repeat(logits, width, axis=0), first, decoding, ids)
    past = tuple((ops.repeat(key, width, axis=0), ops.repeat(value, width, axis=0)) for key, value in past)
    beams = ops.while_loop(undecided, proceed, (first + 1, last, parents, beams, past))[3]
    best = beams.best
    return Written(
        ops.where(best.finished[:, None], best.tokens, beams.tokens[:, 0]),
        ops.where(best.finished, best.scores, beams.sums[:, 0]),
        best.finished,
    )


def advance(beams: Beams, logits: Tensor, step: Tensor, decoding: Decoding, ids: Ids) -> tuple[Tensor, Tensor, Beams]:
    """Return the last tokens, (rows, beams), which beam each one continues, (rows, beams), and the texts with them.

    Args:
        beams: Beams. The texts so far.
        logits: (rows * beams, vocabulary). Behind them.
        step: scalar int32. How many tokens the texts have.
        decoding: Decoding. How.
        ids: Ids. With which ids.
    """
    rows, width, length = beams.tokens.shape
    vocabulary = logits.shape[-1]
    log_p = log_probabilities(logits, ids)
    log_p = without_repeats(log_p, ops.reshape(beams.tokens, (-1, length)), step, decoding.no_repeat_ngram_size)
    sums = beams.sums[:, :, None] + ops.reshape(log_p, (rows, width, vocabulary))
    # Of twice as many as there are beams, no more than half can end.
    sums, index = ops.top_k(ops.reshape(sums, (rows, -1)), 2 * width)  # (rows, 2 * beams)
    index = ops.cast(index, "int32")
    parents, chosen = index // vocabulary, index % vocabulary
    tokens = ops.take_along_axis(beams.tokens, parents[:, :, None], axis=1)
    tokens = with_token(tokens, step, chosen)  # (rows, 2 * beams, length)
    ended = ops.equal(chosen, ids.end)
    scores = ops.where(ended, score_of(sums, step + 1, decoding), NEVER)
    best, score = _better(beams, tokens, sums, scores)
    sums, kept = ops.top_k(ops.where(ended, NEVER, sums), width)  # (rows, beams)
    kept = ops.cast(kept, "int32")
    chosen, parents = ops.take_along_axis(chosen, kept, axis=1), ops.take_along_axis(parents, kept, axis=1)
    return chosen, parents, Beams(ops.take_along_axis(tokens, kept[:, :, None], axis=1), sums, best, score)


def score_of(sums: Tensor, length: Tensor, decoding: Decoding) -> Tensor:
    """Return what texts are compared by: sum(log p) / length ** length_penalty."""
    return sums / ops.power(ops.cast(length, "float32"), decoding.length_penalty)


def _better(beams: Beams, tokens: Tensor, sums: Tensor, scores: Tensor) -> tuple[Written, Tensor]:
    """Return each row's best finished text and its score, of the one so far and the best new one."""
    new = ops.argmax(scores, axis=1)[:, None]  # (rows, 1)
    score = ops.take_along_axis(scores, new, axis=1)[:, 0]
    better = score > beams.score  # (rows,)
    best = Written(
        ops.where(better[:, None], ops.take_along_axis(tokens, new[:, :, None], axis=1)[:, 0], beams.best.tokens),
        ops.where(better, ops.take_along_axis(sums, new, axis=1)[:, 0], beams.best.scores),
        ops.logical_or(beams.best.finished, better),
    )
    return best, ops.where(better, score, beams.score)
