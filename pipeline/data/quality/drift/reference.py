"""What a later run compares its rows with, kept with the champion: small, and without a text in it.

    reference/<task>.json   rows, labels, lengths, the share of unknown words to expect
    reference/<task>.npz    words and sample

Privacy: labels stand in plain words, as they do in the model. Words are kept as the upper half of their 64-bit hash
with their counts, a sample of texts as the numbers of 65,536 buckets that their first words and pairs of words fall
into. No text can be read from either; whoever guesses a word can see whether its hash is there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.quality.figures.profile import Labels, Profile
from pipeline.data.quality.figures.words import Lexicon
from pipeline.errors import DriftError

FORMAT = "tradewind-reference-1"
BUCKETS = 2**16
FIRST_CHARACTERS = 400  # of a text in the sample, so that a reference stays below a megabyte
LENGTHS = 1_000
WORD = r"(?u)\w+"


@dataclass(frozen=True)
class Reference:
    """The rows of a task in figures.

    Attributes:
        rows: int.
        labels: dict of str to int. Rows of each or, of tags, words; of numbers, those in each of ten ranges.
        lengths: list of [characters, rows]. Rising; at most LENGTHS of them, each with the rows up to it.
        words: int. Words in all.
        expected_unknown: float. Share of unknown words that new texts of the same kind would have.
        known: (n,) uint32. Hashes of the commonest words, rising.
        times: (n,) uint32. How often each occurs.
        buckets: (features,) uint16. The sampled texts' features, text after text.
        ends: (texts,) int64. Where the features of each text end.
        numbers: list of [number, rows]. As `lengths`, of the answers that are numbers.
    """

    rows: int
    labels: dict[str, int]
    lengths: list[list[float]]
    words: int
    expected_unknown: float
    known: np.ndarray
    times: np.ndarray
    buckets: np.ndarray
    ends: np.ndarray
    numbers: list[list[float]] = field(default_factory=list)


ARRAYS = ("known", "times", "buckets", "ends")


def make_reference(profile: Profile, labels: Labels) -> Reference:
    """Return the reference of the rows that a task uses."""
    buckets, ends = features(profile.sample.texts)
    known, times = _hashed(profile.lexicon)
    return Reference(
        rows=labels.rows,
        labels=labels.statistics()["labels"],
        lengths=_thinned(profile.characters),
        numbers=_thinned(labels.numbers),
        words=profile.lexicon.words,
        expected_unknown=round(profile.lexicon.expected_unknown, 6),
        known=known,
        times=times,
        buckets=buckets,
        ends=ends,
    )


def save(reference: Reference, folder: Path, task: str) -> None:
    """Write the two files of a task."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {key: value for key, value in asdict(reference).items() if key not in ARRAYS}
    text = json.dumps({"format": FORMAT, **values}, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / f"{task}.json").write_text(text + "\n", encoding="utf-8")
    np.savez_compressed(folder / f"{task}.npz", **{key: getattr(reference, key) for key in ARRAYS})


def load(folder: Path, task: str) -> Reference:
    """Read the two files of a task.

    Raises:
        DriftError: one is missing or damaged.
    """
    try:
        values: dict[str, Any] = json.loads((folder / f"{task}.json").read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        with np.load(folder / f"{task}.npz", allow_pickle=False) as arrays:
            return Reference(**values, **{key: arrays[key] for key in ARRAYS})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DriftError(
            f"task {task}: what its rows are to be compared with, {folder}/{task}.json and .npz, cannot be read "
            f"({error}). Publish a new champion with --set data.drift.reference=off, which brings its own"
        ) from error


def features(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the buckets of the first words and pairs of words of the texts, and where those of each text end."""
    from sklearn.feature_extraction.text import HashingVectorizer

    if not texts:
        return np.empty(0, np.uint16), np.empty(0, np.int64)
    vectorizer = HashingVectorizer(
        n_features=BUCKETS,
        ngram_range=(1, 2),
        token_pattern=WORD,
        binary=True,
        norm=None,
        alternate_sign=False,
    )
    matrix = vectorizer.transform([text[:FIRST_CHARACTERS] for text in texts])
    matrix.sort_indices()
    return matrix.indices.astype(np.uint16), matrix.indptr[1:].astype(np.int64)


def _hashed(lexicon: Lexicon) -> tuple[np.ndarray, np.ndarray]:
    hashes = (lexicon.known[:, 0] >> np.uint64(32)).astype(np.uint32)
    known, place = np.unique(hashes, return_inverse=True)
    times = np.bincount(place, weights=lexicon.known[:, 1].astype(np.float64), minlength=len(known))
    return known, np.minimum(times, 2**32 - 1).astype(np.uint32)


def _thinned(histogram: Mapping[Any, int]) -> list[list[float]]:
    """Return [value, rows] of a histogram, neighbours put together until LENGTHS are left."""
    values = sorted(histogram)
    least = sum(histogram.values()) / LENGTHS if len(values) > LENGTHS else 0
    found: list[list[float]] = []
    rows = 0
    for value in values:
        rows += histogram[value]
        if rows >= least or value == values[-1]:
            found.append([value, rows])
            rows = 0
    return found
