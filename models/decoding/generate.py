"""Texts for prompts: checks, batches of few shapes, and ragged results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops

from models.backbones import EncoderDecoder
from models.decoding.decoding import Decoding, Ids
from models.decoding.program import program_of
from models.language_models import CausalLanguageModel, LanguageModel, SpanLanguageModel

SHORTEST_ROW = 16


@dataclass(frozen=True)
class Generated:
    """What was written for each prompt.

    Attributes:
        tokens: list of (tokens,) int32. Without the prompt, the start and the end.
        scores: (prompts,) float32. Sum of the log probabilities of the tokens and the end, among all that may be
            written, at temperature 1.
        finished: (prompts,) bool. Whether the end was written, before `max_new_tokens` were used up.
    """

    tokens: list[np.ndarray]
    scores: np.ndarray
    finished: np.ndarray


def generate(
    model: LanguageModel,
    prompts: Sequence[np.ndarray],
    decoding: Decoding,
    *,
    start: int,
    end: int,
    pad: int,
    seed: int = 0,
    vocabulary_size: int | None = None,
    longest_row: int | None = None,
    batch_size: int = 64,
) -> Generated:
    """Return a text for every prompt.

    A text depends on its prompt, and when sampled on `seed`, and on no other prompt; equal prompts have equal texts.

    Args:
        model: CausalLanguageModel, which continues the prompts; or SpanLanguageModel, whose encoder reads the prompts
            and whose decoder begins with `start`. Built.
        prompts: token ids, (tokens,) each.
        decoding: Decoding. How.
        start: int. Id before the first token of a decoder's text. It is never written; nor is `pad`.
        end: int. Id behind the last one.
        pad: int. Id that fills rows up.
        seed: int. Of the samples, from 0.
        vocabulary_size: int or None. Ids from it on, such as those that stand for lost spans, are never written; None:
            all of the model's may be.
        longest_row: int or None. Tokens of the longest row that the model was trained on; None: prompts of any length.
        batch_size: int. Unfinished texts at once: prompts times beams.

    Raises:
        ValueError: the model cannot write, or a prompt is empty, too long, or holds what is no id of the vocabulary.
    """
    if not isinstance(model, CausalLanguageModel | SpanLanguageModel):
        raise ValueError(
            f"a {type(model).__name__} writes no text; use a CausalLanguageModel or a SpanLanguageModel (architecture "
            "decoder or encoder_decoder)"
        )
    known = model.backbone.architecture()["vocabulary_size"]
    ids = Ids(start, end, pad, known if vocabulary_size is None else vocabulary_size, known)
    if seed < 0 or batch_size < 1:
        raise ValueError(f"seed is {seed} and batch_size {batch_size}; they must be at least 0 and 1")
    arrays = [_checked(number, prompt, known, longest_row) for number, prompt in enumerate(prompts)]
    program = program_of(model, decoding, ids)
    tokens = [np.empty(0, np.int32)] * len(arrays)
    scores, finished = np.zeros(len(arrays), np.float32), np.zeros(len(arrays), bool)
    order = np.argsort([len(array) for array in arrays], kind="stable")  # so that little of a batch is padding
    size = max(1, batch_size // decoding.num_beams)
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        # Rows that fill the batch up are copies, which end when their original does.
        texts = [arrays[number] for number in chosen]
        texts += [texts[-1]] * (_power(len(texts)) - len(texts))
        inputs = _with_draws(_batch(model, texts, ids), texts, decoding, seed)
        written, sums, ended = (np.asarray(ops.convert_to_numpy(part))[: len(chosen)] for part in program(inputs))
        lengths = np.where(ended, np.argmax(written == end, axis=1), decoding.max_new_tokens)
        for number, row, length in zip(chosen, written, lengths, strict=True):
            tokens[number] = row[:length].copy()
        scores[chosen], finished[chosen] = sums, ended
    return Generated(tokens, scores, finished)


def _checked(number: int, prompt: np.ndarray, vocabulary_size: int, longest_row: int | None) -> np.ndarray:
    """Return a prompt as (tokens,) int32. Raises ValueError, which names it."""
    array = np.asarray(prompt)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"prompt {number} has the shape {array.shape}; expected one dimension and at least one token")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"prompt {number} has the type {array.dtype}; expected whole numbers: token ids")
    if longest_row is not None and len(array) > longest_row:
        raise ValueError(
            f"prompt {number} has {len(array)} tokens, and the model was trained on rows of {longest_row}; shorten it"
        )
    wrong = np.flatnonzero((array < 0) | (array >= vocabulary_size))
    if wrong.size:
        raise ValueError(
            f"prompt {number} has the id {array[wrong[0]]} at position {wrong[0]}; the model's ids are 0 to "
            f"{vocabulary_size - 1}: encode it with the model's own tokenizer"
        )
    return array.astype(np.int32)


def _batch(model: LanguageModel, texts: list[np.ndarray], ids: Ids) -> dict[str, np.ndarray]:
    """Return the inputs of `begin`, of a width that is a power of two, so that few programs are compiled."""
    rows, width = len(texts), _power(max(len(text) for text in texts), SHORTEST_ROW)
    token_ids = np.full((rows, width), ids.pad, np.int32)
    for row, text in zip(token_ids, texts, strict=True):
        row[: len(text)] = text
    lengths = np.array([len(text) for text in texts], np.int32)
    if not isinstance(model.backbone, EncoderDecoder):
        return {"token_ids": token_ids, "lengths": lengths}
    return {
        "token_ids": np.full((rows, 1), ids.start, np.int32),
        "lengths": np.ones(rows, np.int32),
        "source_token_ids": token_ids,
        "source_segment_ids": (np.arange(width) < lengths[:, None]).astype(np.int32),
    }


def _with_draws(
    inputs: dict[str, np.ndarray], texts: list[np.ndarray], decoding: Decoding, seed: int
) -> dict[str, np.ndarray]:
    """Return the inputs with the random numbers of sampling, those of a row from the seed and its prompt alone."""
    if not decoding.temperature:
        return inputs
    draws = [np.random.default_rng([seed, *text.tolist()]).random(decoding.max_new_tokens) for text in texts]
    # Below 1 by more than float32 rounds a sum of probabilities.
    return inputs | {"draws": np.array(draws, np.float32) * np.float32(1 - 2**-18)}


def _power(number: int, least: int = 1) -> int:
    """Return the smallest power of two from `number` and `least`."""
    return int(1 << (max(number, least) - 1).bit_length())
