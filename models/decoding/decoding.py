"""How a text is written, and with which ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decoding:
    """How a text is written: greedily, unless several beams or a temperature are given.

    Attributes:
        max_new_tokens: int. Most tokens of a text, its end counted.
        num_beams: int. Above 1, beam search: so many unfinished texts are followed at once. A text that has ended is
            kept when its score, sum(log p) / length ** length_penalty, is the best so far, and the search stops when
            no unfinished one can reach more; so the result is that of the search to the end.
        length_penalty: float. Of beam search: 0 compares sums, 1 means; more favours long texts, below 0 short ones.
            The length counts the end. A simpler form of Wu 2016 (arXiv 1609.08144, equation 14), which divides by
            ((5 + length) / 6) ** alpha and looks at coverage.
        temperature: float. Above 0, sampling from softmax(logits / temperature).
        top_k: int. Sampling from the k likeliest tokens only (Fan 2018, arXiv 1805.04833); 0: from all.
        top_p: float. Sampling from the fewest tokens, of those that `top_k` leaves, that together are so likely
            (Holtzman 2019, arXiv 1904.09751); 1: from all.
        no_repeat_ngram_size: int. No sequence of so many tokens is written twice in a text (Paulus 2017, arXiv
            1705.04304); 0: it may be. The prompt does not count.

    Raises:
        ValueError: a value is out of its range, or two contradict each other.
    """

    max_new_tokens: int
    num_beams: int = 1
    length_penalty: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    no_repeat_ngram_size: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        for name, least in (("max_new_tokens", 1), ("num_beams", 1), ("top_k", 0), ("no_repeat_ngram_size", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; it must be a whole number from {least}")
        if not np.isfinite(self.length_penalty):
            raise ValueError(f"length_penalty is {self.length_penalty}; it must be a finite number")
        if not 0 <= self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 (no sampling) or a positive number")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.temperature and self.num_beams > 1:
            raise ValueError(
                f"num_beams is {self.num_beams} and temperature {self.temperature}; beam search draws no samples: set "
                "num_beams to 1, or temperature to 0"
            )
        if not self.temperature and (self.top_k or self.top_p < 1):
            raise ValueError(
                f"top_k is {self.top_k} and top_p {self.top_p}, and temperature 0 draws no samples; set temperature "
                "above 0, such as 1.0, or leave the two out"
            )


@dataclass(frozen=True)
class Ids:
    """The token ids that mean something to whoever writes.

    Attributes:
        start: int. Opens a text; never written.
        end: int. Closes one.
        pad: int. Fills rows up; never written.
        limit: int. Only ids below it are written.
        vocabulary_size: int. Of the model.

    Raises:
        ValueError: an id is none of the vocabulary's.
    """

    start: int
    end: int
    pad: int
    limit: int
    vocabulary_size: int

    def __post_init__(self) -> None:
        """Check every id."""
        if not 0 < self.limit <= self.vocabulary_size:
            raise ValueError(
                f"vocabulary_size is {self.limit}; it must be from 1 to {self.vocabulary_size}, the model's vocabulary"
            )
        for name, most in (("start", self.vocabulary_size), ("end", self.limit), ("pad", self.vocabulary_size)):
            if not 0 <= getattr(self, name) < most:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to {most - 1}")

    def writable(self) -> np.ndarray:
        """Return which ids may be written, (vocabulary,) bool; the end may be, also where it is `start` or `pad`."""
        ids = np.arange(self.vocabulary_size)
        allowed: np.ndarray = ((ids < self.limit) & (ids != self.start) & (ids != self.pad)) | (ids == self.end)
        return allowed
