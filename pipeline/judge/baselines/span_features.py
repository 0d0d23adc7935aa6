"""Candidate answers of a text, and what tells a good one: its words, its neighbours, its sentence, its question.

Nothing is of one language: words are common where many texts have them, and the question's words are those that
training questions use most.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

WORD = re.compile("\\w+(?:[-'\u2019.,]\\w+)*|[^\\w\\s]")
SENTENCE_END = re.compile("(?<=[.!?\u3002\uff01\uff1f])[\"'\u201d\u2019)\\]]*\\s+|\\n+")
SENTENCES = 3  # most like the question, in which candidates are looked for
COMMON = 0.1  # share of the texts above which a word is common
QUESTION_WORDS, NEIGHBOURS = 30, 50
USUAL_LENGTH = 0.95  # quantile of the training answers' words
MOST_WORDS = 12
SHAPES = 6
PLAIN = 24


@dataclass(frozen=True)
class Candidates:
    """What may answer a question.

    Attributes:
        spans: list of (begin, end). In characters of the text.
        table: (spans, features) float32, sparse.
    """

    spans: list[tuple[int, int]]
    table: csr_matrix


class SpanFeatures:
    """Makes candidates and their features.

    Args:
        vectoriser: fitted tf-idf of words, which finds the sentences.
        common: words that many texts have.
        asked: words that questions have most.
        neighbours: words that texts have most; what of them stands beside a span is told.
        longest: most words of a candidate.
    """

    def __init__(
        self, vectoriser: Any, common: frozenset[str], asked: Sequence[str], neighbours: Sequence[str], longest: int
    ) -> None:
        self.vectoriser = vectoriser
        self.common = common
        self.asked = {word: number for number, word in enumerate(asked, start=1)}  # 0: whatever the question
        self.neighbours = {word: number for number, word in enumerate(neighbours, start=1)}  # 0: another word
        self.longest = longest
        self.width = PLAIN + (SHAPES + 2 + 2 * len(self.neighbours)) * (1 + len(self.asked))

    @classmethod
    def of(cls, train: pd.DataFrame) -> SpanFeatures:
        """Return what the training rows say of words and lengths."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = list(dict.fromkeys(train["text"]))
        vectoriser = TfidfVectorizer(tokenizer=_words, token_pattern=None, sublinear_tf=True, dtype=np.float32)
        vectoriser.fit([*texts, "a"])  # texts without any word are fine
        frequent = Counter(word for text in texts for word in set(_words(text)))
        questions = Counter(word for question in train["text_pair"].dropna() for word in set(_words(question)))
        lengths = [len(WORD.findall(span["text"])) for label in train["label"] for span in label[:1]] or [1]
        longest = int(np.clip(np.quantile(lengths, USUAL_LENGTH), 1, MOST_WORDS))
        common = frozenset(word for word, number in frequent.items() if number > COMMON * len(texts))
        asked, beside = questions.most_common(QUESTION_WORDS), frequent.most_common(NEIGHBOURS)
        return cls(vectoriser, common, [word for word, _ in asked], [word for word, _ in beside], longest)

    def candidates(self, texts: Sequence[str], questions: Sequence[str]) -> Iterator[Candidates]:
        """Yield the candidates of each text and question."""
        sentences: dict[str, list[tuple[int, int]]] = {text: _sentences(text) for text in dict.fromkeys(texts)}
        places = np.cumsum([0, *map(len, sentences.values())])
        first = dict(zip(sentences, places, strict=False))
        matrix = self.vectoriser.transform([text[a:b] for text, own in sentences.items() for a, b in own])
        asked = self.vectoriser.transform(questions)
        for number, (text, question) in enumerate(zip(texts, questions, strict=True)):
            own = sentences[text]
            similar = (matrix[first[text] : first[text] + len(own)] @ asked[number].T).toarray()[:, 0]
            best = np.argsort(-similar, kind="stable")[:SENTENCES]
            parts = [
                self._sentence(text, own[place], question, rank, similar[place]) for rank, place in enumerate(best)
            ]
            spans = [span for part in parts for span in part.spans]
            yield Candidates(
                spans, vstack([csr_matrix((0, self.width), dtype=np.float32), *(p.table for p in parts)], "csr")
            )

    def _sentence(self, text: str, bounds: tuple[int, int], question: str, rank: int, similarity: float) -> Candidates:
        matches = list(WORD.finditer(text, *bounds))
        words = [match[0] for match in matches]
        lower = [word.lower() for word in words]
        said = set(_words(question))
        flags = np.array([self._flags(word, word.lower() in said) for word in words], np.float32).reshape(-1, 5)
        first, last = _pairs(flags[:, 4] > 0, self.longest)
        known = np.array([0, *(self.neighbours.get(word, 0) for word in lower), 0], np.int64)
        shapes, ones = _shapes(flags, first, last), np.ones((len(first), 2), np.float32)
        codes = np.tile(np.arange(SHAPES + 2), (len(first), 1))  # (spans, SHAPES + 2)
        codes[:, SHAPES] += known[first]
        codes[:, SHAPES + 1] += len(self.neighbours) + known[last + 2]
        present = np.array([0, *sorted(self.asked[word] for word in said if word in self.asked)])
        crossed = PLAIN + codes[:, :, None] * (1 + len(self.asked)) + present  # (spans, SHAPES + 2, question's words)
        plain = np.tile(np.arange(PLAIN), (len(first), 1))
        columns = np.concatenate([plain, crossed.reshape(len(first), (SHAPES + 2) * len(present))], axis=1)
        told = np.repeat(np.concatenate([shapes, ones], axis=1), len(present), axis=1)
        values = np.concatenate([_features(flags, first, last, rank, similarity), told], axis=1)
        ends = np.arange(len(first) + 1) * columns.shape[1]
        table = csr_matrix((values.ravel(), columns.ravel(), ends), shape=(len(first), self.width))
        return Candidates([(matches[a].start(), matches[b].end()) for a, b in zip(first, last, strict=True)], table)

    def _flags(self, word: str, said: bool) -> tuple[bool, ...]:
        """Return whether a word is in the question, common, capital, with a digit, punctuation."""
        digit = any(map(str.isdigit, word))
        return said, word.lower() in self.common, word[0].isupper(), digit, not word[0].isalnum()


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def _sentences(text: str) -> list[tuple[int, int]]:
    """Return begin and end of each sentence."""
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    return [(start, end) for start, end in pairwise(cuts) if text[start:end].strip()]


def _pairs(punctuation: NDArray[np.bool_], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last word of every stretch that neither begins nor ends with punctuation."""
    first = np.repeat(np.arange(len(punctuation)), longest)
    last = first + np.tile(np.arange(longest), len(punctuation))
    kept = last < len(punctuation)
    first, last = first[kept], last[kept]
    sound = ~(punctuation[first] | punctuation[last])
    return first[sound], last[sound]


def _features(
    flags: NDArray[np.float32], first: NDArray[np.int64], last: NDArray[np.int64], rank: int, similarity: float
) -> NDArray[np.float32]:
    """Return (spans, PLAIN) what is told of spans whatever the question's words are."""
    size = last - first + 1
    sums = np.concatenate([np.zeros((1, 5), np.float32), np.cumsum(flags, axis=0)])
    inside = (sums[last + 1] - sums[first]) / size[:, None]  # (spans, 5): shares
    edge = np.zeros((1, 5), np.float32)
    padded = np.concatenate([edge, flags, edge])
    before, behind = padded[first], padded[last + 2]
    telling = flags[:, 0] * (1 - flags[:, 1]) * (1 - flags[:, 4]) > 0  # of the question, and not common
    near = _distance(telling, first, last)
    columns = [
        np.full(len(first), similarity),
        np.full(len(first), rank == 0),
        *(size == number for number in (1, 2, 3, 4)),
        size > 6,
        inside[:, 0],
        inside[:, 1],
        inside[:, 4] > 0,
        flags[first, 1],
        flags[last, 1],
        *(before[:, number] for number in (0, 1, 2, 4)),
        *(behind[:, number] for number in (0, 1, 2, 4)),
        first == 0,
        last == len(flags) - 1,
        near <= 2,
        near / 10,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _shapes(flags: NDArray[np.float32], first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (spans, SHAPES) what kind of thing a span is, which the question's words may ask for."""
    size = last - first + 1
    sums = np.concatenate([np.zeros((1, 5), np.float32), np.cumsum(flags, axis=0)])
    inside = sums[last + 1] - sums[first]
    columns = [
        inside[:, 3] > 0,
        inside[:, 3] == size,
        flags[first, 2] * flags[last, 2],
        inside[:, 2] == 0,
        size == 1,
        size > 3,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _distance(marked: NDArray[np.bool_], first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many words are between each span and the nearest marked word beside it, ten at most."""
    places = np.arange(len(marked))
    left = np.maximum.accumulate(np.where(marked, places, -10)) if len(marked) else places
    right = np.minimum.accumulate(np.where(marked, places, len(marked) + 10)[::-1])[::-1]
    to_left = first - np.concatenate([[-10], left])[first]
    to_right = np.concatenate([right, [len(marked) + 10]])[last + 1] - last
    distance: NDArray[np.int64] = np.clip(np.minimum(to_left, to_right), 0, 10)
    return distance
