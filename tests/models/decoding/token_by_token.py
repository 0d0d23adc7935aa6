"""What generation must equal: whole forward passes of one row each, which keep nothing."""

from typing import Any

import numpy as np
from tiny_models import VOCABULARY, answers, make_causal_model, make_span_model

from models.decoding import Decoding
from models.language_models import LanguageModel, SpanLanguageModel

PAD, START = 0, 1
WIDTH = 24
MAKERS = {"causal": make_causal_model, "span": make_span_model}
ENDS = {"causal": 5, "span": 4}  # ids that the models below choose early, late and never
SEEDS = {"causal": 0, "span": 1}


def make_decided(kind: str) -> LanguageModel:
    """A tiny model whose probabilities are far apart."""
    model: Any = MAKERS[kind](seed=SEEDS[kind])
    embedding = getattr(model.backbone, "encoder", model.backbone).embedding
    embedding.embeddings.assign(embedding.embeddings * 4.0)
    return model


def make_prompts(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(3, VOCABULARY, length).astype(np.int64) for length in lengths]


def row(tokens: list[int]) -> dict[str, np.ndarray]:
    padded = np.zeros((1, WIDTH), np.int32)
    padded[0, : len(tokens)] = tokens
    return {"token_ids": padded, "segment_ids": (np.arange(WIDTH)[None] < len(tokens)).astype(np.int32)}


def next_logits(model: LanguageModel, prompt: np.ndarray, written: list[int]) -> np.ndarray:
    """Return the logits behind a prompt and what is written, (vocabulary,) float32."""
    if isinstance(model, SpanLanguageModel):
        decoder = [START, *written]
        inputs = row(list(prompt)) | {f"decoder_{name}": array for name, array in row(decoder).items()}
    else:
        decoder = [*prompt, *written]
        inputs = row(decoder)
    return answers(model, inputs)[0, len(decoder) - 1].astype(np.float32)


def next_log_p(model: LanguageModel, prompt: np.ndarray, written: list[int], limit: int) -> np.ndarray:
    """Return log softmax over the ids that may be written; of the others, minus infinity."""
    logits = next_logits(model, prompt, written).astype(np.float64)
    may = (np.arange(VOCABULARY) < limit) & (np.arange(VOCABULARY) > START)
    return np.where(may, logits, -np.inf) - np.logaddexp.reduce(logits[may])


def greedy(
    model: LanguageModel, prompt: np.ndarray, end: int, limit: int, length: int
) -> tuple[list[int], float, bool]:
    written: list[int] = []
    score = 0.0
    while len(written) < length:
        log_p = next_log_p(model, prompt, written, limit)
        chosen = int(np.argmax(log_p))
        score += log_p[chosen]
        if chosen == end:
            return written, score, True
        written.append(chosen)
    return written, score, False


def beam_search(
    model: LanguageModel, prompt: np.ndarray, end: int, limit: int, decoding: Decoding
) -> tuple[list[int], float, bool]:
    """Search to the end, without leaving early, and keep everything that has ended."""
    alive: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, float, list[int]]] = []
    for length in range(1, decoding.max_new_tokens + 1):
        extended = []
        for total, written in alive:
            log_p = next_log_p(model, prompt, written, limit)
            extended += [(total + log_p[token], [*written, token]) for token in np.flatnonzero(np.isfinite(log_p))]
        extended = sorted(extended, key=lambda text: -text[0])[: 2 * decoding.num_beams]
        ended += [(s / length**decoding.length_penalty, s, text[:-1]) for s, text in extended if text[-1] == end]
        alive = [text for text in extended if text[1][-1] != end][: decoding.num_beams]
    if not ended:
        return alive[0][1], alive[0][0], False
    _, total, written = max(ended, key=lambda text: text[0])
    return written, total, True


def check(generated: Any, expected: list[tuple[list[int], float, bool]]) -> None:
    assert [list(tokens) for tokens in generated.tokens] == [tokens for tokens, _, _ in expected]
    assert list(generated.finished) == [finished for _, _, finished in expected]
    np.testing.assert_allclose(generated.scores, [score for _, score, _ in expected], rtol=0, atol=2e-4)
