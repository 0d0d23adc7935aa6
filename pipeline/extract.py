"""From what a span model says of tokens to the stretches of a text that answer a question.

In each window an answer is a pair of context pieces, the last not before the first and at most so many pieces long, or
none, which is the start token as both. Its probability is that of its beginning times that of its end, over their sum
of all such pairs. A text of several windows has the most probable answers of all of them; that it has none is as
probable as the window that doubts it most says.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.data.tokens.contexts import Windows

N_BEST = 20  # as SQuAD's own baselines keep
NONE = -1


def window_answers(logits: np.ndarray, begins: np.ndarray, ends: np.ndarray, longest: int) -> tuple[float, np.ndarray]:
    """Return how probable it is that a window has no answer, and its best answers.

    Args:
        logits: (pieces + 1, 2). Of the start token and the context's pieces: that an answer begins, and ends, there.
        begins: (pieces,) int. The character that each piece begins with.
        ends: (pieces,) int. The one behind its last.
        longest: int. Most pieces of an answer.

    Returns:
        float; (answers, 3) float64: begin, end and probability of at most N_BEST, in no order.
    """
    begin, end = logits.astype(np.float64).T  # (pieces + 1,) each
    pieces = len(begins)
    table = np.full((pieces, min(longest, pieces)), -np.inf)  # (first piece, further pieces)
    for further in range(table.shape[1]):
        first = pieces - further
        scores = begin[1 : first + 1] + end[1 + further :]
        table[:first, further] = np.where(begins[:first] < ends[further:], scores, -np.inf)
    none, most = begin[0] + end[0], max(begin[0] + end[0], table.max(initial=-np.inf))
    total = np.exp(none - most) + np.exp(table - most).sum()
    flat = table.ravel()
    best = np.argpartition(-flat, N_BEST)[:N_BEST] if len(flat) > N_BEST else np.arange(len(flat))
    best = best[np.isfinite(flat[best])]
    first, further = np.divmod(best, max(1, table.shape[1]))
    probabilities = np.exp(flat[best] - most) / total
    return float(np.exp(none - most) / total), np.stack([begins[first], ends[first + further], probabilities], axis=1)


def text_answers(windows: Windows, found: Sequence[tuple[float, np.ndarray]], answers_none: bool) -> np.ndarray:
    """Return the best answers of each text, (texts, 1 + N_BEST, 3) float32: begin, end, probability.

    The first is that there is none, begin and end -1, and is impossible unless `answers_none`; the others are sorted,
    and filled up with impossible ones.

    Args:
        windows: Windows. Of one text or more.
        found: sequence. What `window_answers` found in each.
        answers_none: bool. Whether a text may hold no answer.
    """
    firsts = np.flatnonzero(np.diff(windows.owners, prepend=-1))
    answers = np.zeros((len(firsts), 1 + N_BEST, 3), np.float32)
    answers[..., :2] = NONE
    for number, (start, stop) in enumerate(pairwise([*firsts, len(windows.owners)])):
        if answers_none:
            answers[number, 0, 2] = min(none for none, _ in found[start:stop])
        best = np.concatenate([spans for _, spans in found[start:stop]])
        best = best[np.argsort(-best[:, 2], kind="stable")]
        _, kept = np.unique(best[:, :2], axis=0, return_index=True)  # overlapping windows find the same
        best = best[np.sort(kept)][:N_BEST]
        answers[number, 1 : 1 + len(best)] = best
    return answers


def best_answer(text: str, answers: np.ndarray) -> tuple[str, int, int, float]:
    """Return answer, begin, end and confidence of the most probable of a text's answers, ("", -1, -1) for none."""
    begin, end, confidence = answers[answers[:, 2].argmax()].tolist()
    return (text[int(begin) : int(end)] if begin >= 0 else ""), int(begin), int(end), confidence
