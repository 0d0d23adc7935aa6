"""Which token comes next: log probabilities, what may not be written, and the choice."""

from __future__ import annotations

from keras import ops

from models.decoding.decoding import Decoding, Ids
from models.packed import Tensor

NEVER = float("-inf")


def log_probabilities(logits: Tensor, ids: Ids) -> Tensor:
    """Return log softmax over the ids that may be written, and minus infinity for the others, (rows, vocabulary).

    Args:
        logits: (rows, vocabulary), any float type; the result is float32.
        ids: Ids. Which ones may be written.
    """
    return ops.log_softmax(ops.where(ids.writable()[None, :], ops.cast(logits, "float32"), NEVER), axis=-1)


def without_repeats(log_p: Tensor, tokens: Tensor, step: Tensor, size: int) -> Tensor:
    """Return `log_p` with minus infinity where a token would end a sequence of `size` that is in its text already.

    Args:
        log_p: (rows, vocabulary) float32.
        tokens: (rows, length) int32. The texts so far.
        step: scalar int32. How many tokens they have.
        size: int. 0: nothing is changed.
    """
    rows, length = tokens.shape
    if not 0 < size <= length:
        return log_p
    windows = length - size + 1
    # The last tokens of a text, which with the next one would make a sequence of that size.
    last = ops.take(tokens, ops.maximum(step - (size - 1) + ops.arange(size - 1, dtype="int32"), 0), axis=1)
    seen = ops.broadcast_to(ops.arange(windows, dtype="int32")[None, :] + (size - 1) < step, (rows, windows))
    for place in range(size - 1):
        seen = ops.logical_and(seen, ops.equal(tokens[:, place : place + windows], last[:, place : place + 1]))
    vocabulary = log_p.shape[1]
    banned = ops.where(seen, tokens[:, size - 1 :], vocabulary)  # (rows, windows); `vocabulary`: none
    row = ops.broadcast_to(ops.arange(rows, dtype="int32")[:, None], (rows, windows))
    places = ops.reshape(ops.stack([row, banned], axis=-1), (-1, 2))
    counts = ops.zeros((rows, vocabulary + 1), "float32")
    counts = ops.scatter_update(counts, places, ops.ones((rows * windows,), "float32"), reduction="add")
    return ops.where(counts[:, :vocabulary] > 0, NEVER, log_p)


def pick(log_p: Tensor, decoding: Decoding, draws: Tensor | None) -> Tensor:
    """Return the likeliest token of each row, or a drawn one, (rows,) int32.

    Args:
        log_p: (rows, vocabulary) float32.
        decoding: Decoding. Of which temperature, and from how many tokens.
        draws: (rows,) float32 from [0, 1). One number each, so that a row's sample needs no other row's.
    """
    if draws is None:
        return ops.cast(ops.argmax(log_p, axis=-1), "int32")
    scaled, tokens = log_p / decoding.temperature, None
    if decoding.top_k or decoding.top_p < 1:
        scaled, tokens = ops.top_k(scaled, min(decoding.top_k or log_p.shape[-1], log_p.shape[-1]))
    shares = ops.softmax(scaled, axis=-1)
    if decoding.top_p < 1:
        before = ops.cumsum(shares, axis=-1) - shares
        shares = ops.where(before < decoding.top_p, shares, 0.0)
    reached = ops.cumsum(shares, axis=-1)
    wanted = draws[:, None] * reached[:, -1:]
    # A sum in parallel may round up where nothing is added, so what has no share is left out once more.
    drawn = ops.argmax(ops.cast(ops.logical_and(reached > wanted, shares > 0), "int32"), axis=-1)
    if tokens is not None:
        drawn = ops.take_along_axis(tokens, drawn[:, None], axis=1)[:, 0]
    return ops.cast(drawn, "int32")


def with_token(tokens: Tensor, step: Tensor, chosen: Tensor) -> Tensor:
    """Return texts, (..., length) int32, with the tokens `chosen`, (...), at place `step`."""
    place = ops.equal(ops.arange(tokens.shape[-1], dtype="int32"), step)
    return ops.where(place, chosen[..., None], tokens)
