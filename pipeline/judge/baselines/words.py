"""The linear opponent of taggers: each word from itself, its neighbours and its shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

PASSES = 8
TAGGER_PENALTIES = (1e-6, 1e-5)
EDGE = "<edge>"


def window_features() -> Any:
    """Return the transformer from lists of words to (words, features): hashed, so that it needs no vocabulary."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(
        FunctionTransformer(_all_words),
        FeatureHasher(2**18, input_type="string", dtype=np.float32, alternate_sign=False),
    )


def _all_words(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [features for words in rows for features in _row(words)]


def _row(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield the features of each word: two neighbours on either side, pairs, affixes of up to four, and shape."""
    lower = [EDGE, EDGE, *(word.lower() for word in words), EDGE, EDGE]
    for place, word in enumerate(words, start=2):
        around = [f"{shift}={lower[place + shift]}" for shift in (-2, -1, 0, 1, 2)]
        pairs = [f"pair{shift}={lower[place + shift]}|{lower[place + shift + 1]}" for shift in (-1, 0)]
        ends = [f"{side}={part}" for n in range(1, 5) for side, part in (("end", word[-n:]), ("start", word[:n]))]
        shapes = [f"shape{shift}={_shape(words, place - 2 + shift)}" for shift in (-1, 0, 1)]
        yield [*around, *pairs, *ends, *shapes, "bias"]


def _shape(words: Sequence[str], place: int) -> str:
    """Return `Xx-d` of `Mark-2`: capitals, small letters and digits, runs as one."""
    if not 0 <= place < len(words):
        return EDGE
    kinds = re.sub(r"[^\W\d_]", lambda letter: "X" if letter[0].isupper() else "x", re.sub(r"\d", "d", words[place]))
    return re.sub(r"(.)\1+", r"\1", kinds)


def fit_tagger(train: Any, tags: Any, known: tuple[str, ...], grid: tuple[float, ...], seed: int) -> Any:
    """Yield (penalty, answer) per penalty of `grid`; `answer` gives (words, known labels) probabilities.

    Averaged stochastic gradient descent on the logistic loss, each tag against the rest: a few passes are enough, where
    a multinomial fit takes minutes on a hundred thousand words.
    """
    from sklearn.linear_model import SGDClassifier

    for penalty in grid:
        model = SGDClassifier("log_loss", alpha=penalty, max_iter=PASSES, tol=None, average=True, random_state=seed)
        model.fit(train, tags.astype(str))
        assert tuple(model.classes_) == known

        def answer(matrix: Any, model: Any = model) -> Any:
            return model.predict_proba(matrix).astype(np.float32)

        yield penalty, answer
