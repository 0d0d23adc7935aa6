"""What the rows look like, gathered while they stream by: counts, lengths, labels, words, and a drawn sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.answers import classes_of
from pipeline.data.quality.figures import words
from pipeline.data.quality.figures.lengths import length_ranges, merge_counts, quantiles
from pipeline.data.quality.figures.spool import Spool, group_starts, hash_strings
from pipeline.data.quality.figures.words import ChunkWords, Lexicon, Vocabulary, split_words

SAMPLE = 2_000
SAMPLE_CHARACTERS = 2_000
MOST_LABELS = 100_000
TRAIN, HELD = 1, 2
HELD_SPLITS = ("validation", "test")
WHOLE_NUMBER = re.compile(r"([-+]?[0-9]+)\.0+")


@dataclass(frozen=True)
class Chunk:
    """Some sound rows of a source and what several counts need of them; equal texts have equal `hashes`."""

    table: pa.Table

    @property
    def given_splits(self) -> bool:
        """Whether the source says which rows are for training, validation and test."""
        return "split" in self.table.column_names

    @cached_property
    def texts(self) -> pa.Array:
        """The texts, (rows,) string."""
        return self.table["text"].combine_chunks()

    @cached_property
    def hashes(self) -> np.ndarray:
        """A hash of each row's text, or of both its texts, (rows,) uint64."""
        if "text_pair" not in self.table.column_names:
            return hash_strings(self.texts)
        pairs = pc.fill_null(self.table["text_pair"], "")
        return hash_strings(pc.binary_join_element_wise(self.texts, pairs, "\x1f"))

    @cached_property
    def held(self) -> np.ndarray:
        """Which rows the source gives for validation and test, (rows,) bool."""
        if not self.given_splits:
            return np.zeros(len(self.table), bool)
        found: np.ndarray = pc.is_in(self.table["split"], pa.array(HELD_SPLITS)).to_numpy()
        return found

    @cached_property
    def folds(self) -> np.ndarray:
        """Which of ten parts each row is in, by the hash of its text, (rows,) int64."""
        parts: np.ndarray = (self.hashes % words.FOLDS).astype(np.int64)
        return parts

    @cached_property
    def words(self) -> ChunkWords:
        """The words of the texts."""
        return split_words(self.texts)

    @cached_property
    def characters(self) -> np.ndarray:
        """Characters of each text, (rows,)."""
        lengths: np.ndarray = pc.utf8_length(self.texts).to_numpy()
        return lengths


class Sample:
    """At most `SAMPLE` distinct texts, drawn by hash: the same whatever the order of the rows."""

    def __init__(self) -> None:
        self.hashes = np.empty(0, np.uint64)
        self.texts: list[str] = []

    def add(self, chunk: Chunk, rows: np.ndarray) -> None:
        """Let the texts of a chunk that the mask selects take part in the draw."""
        limit = self.hashes[-1] if len(self.hashes) == SAMPLE else np.uint64(2**64 - 1)
        places = np.flatnonzero(rows & (chunk.hashes <= limit))
        places = places[np.argsort(chunk.hashes[places], kind="stable")[: 4 * SAMPLE]]
        drawn = pc.utf8_slice_codeunits(chunk.texts.take(pa.array(places)), 0, SAMPLE_CHARACTERS).to_pylist()
        hashes, first = np.unique(np.concatenate([self.hashes, chunk.hashes[places]]), return_index=True)
        texts = self.texts + drawn
        self.hashes, self.texts = hashes[:SAMPLE], [texts[index] for index in first[:SAMPLE]]


class Profile:
    """The rows of a source, or those that some of its tasks use: how many, how long, in which words."""

    def __init__(self, folder: Path) -> None:
        self.rows = 0
        self.held = "each tenth of the texts, drawn by hash"
        self.characters: dict[int, int] = {}
        self.word_counts: dict[int, int] = {}
        self.vocabulary = Vocabulary(folder / "words")
        self.sample = Sample()
        self.texts = Spool(folder / "texts", [("splits", "u1")])

    def add(self, chunk: Chunk, rows: np.ndarray) -> None:
        """Count the rows of a chunk that the mask selects."""
        if chunk.given_splits:
            self.held = "the given validation and test rows"
        self.rows += int(rows.sum())
        merge_counts(self.characters, chunk.characters[rows])
        merge_counts(self.word_counts, chunk.words.counts[rows])
        self.vocabulary.add(chunk.words, rows, chunk.held, chunk.folds)
        self.sample.add(chunk, rows)
        self.texts.add(chunk.hashes[rows], splits=np.where(chunk.held[rows], HELD, TRAIN))

    @cached_property
    def lexicon(self) -> Lexicon:
        """The words; to be asked for once all rows are in."""
        return self.vocabulary.lexicon()

    @cached_property
    def distinct(self) -> tuple[int, int, int]:
        """How many different texts there are, how many are held out, and how many of these are not held out as well."""
        texts = held = both = 0
        for records in self.texts.parts():
            starts = group_starts(records)
            if len(starts):
                splits = np.bitwise_or.reduceat(records["splits"], starts)
                texts, held = texts + len(starts), held + int(((splits & HELD) > 0).sum())
                both += int((splits == (TRAIN | HELD)).sum())
        return texts, held, both

    def statistics(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        distinct = self.distinct[0]
        return {
            "distinct_texts": distinct,
            "repeated_texts": self.rows - distinct,
            "characters": quantiles(self.characters),
            "words": quantiles(self.word_counts),
            "length_ranges": length_ranges(self.characters),
            "vocabulary": words.statistics(self.lexicon, self.held),
        }


class Labels:
    """The answers of a task's rows, and the texts that carry several.

    Attributes:
        rows: int. All.
        counts: dict of str to int. Rows of each class or, of tags, words.
        numbers: dict of float to int. Rows of each number, to four digits.
    """

    def __init__(self, folder: Path) -> None:
        self.rows = 0
        self.counts: dict[str, int] = {}
        self.numbers: dict[float, int] = {}
        self.codes: dict[str, int] = {}
        self.too_many = False
        self.texts = Spool(folder / "labels", [("label", "u4")])

    def add(self, texts: np.ndarray, labels: pa.Array, answers: pa.Array) -> None:
        """Count rows: the hashes of their `texts`, their labels as they stand in the source, and what these mean."""
        self.rows += len(labels)
        encoded = pc.fill_null(labels, "").dictionary_encode()
        found, indices = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
        for label in found:
            if len(self.codes) < MOST_LABELS:
                self.codes.setdefault(label, len(self.codes))
        codes = np.array([self.codes.get(label, MOST_LABELS) for label in found], np.uint32)
        self.texts.add(texts, label=codes[indices] if len(found) else np.empty(0, np.uint32))
        for value in pc.value_counts(classes_of(answers)).to_pylist():
            if len(self.counts) == MOST_LABELS and value["values"] not in self.counts:
                self.too_many = True
            else:
                self.counts[value["values"]] = self.counts.get(value["values"], 0) + value["counts"]
        for number in answers.to_pylist() if pa.types.is_floating(answers.type) else ():
            rounded = float(f"{number:.4g}")
            self.numbers[rounded] = self.numbers.get(rounded, 0) + 1

    def conflicts(self) -> tuple[int, int]:
        """Return how many different texts there are, and how many of them carry more than one label."""
        texts = several = 0
        for records in self.texts.parts():
            starts = group_starts(records)
            if len(starts):
                lowest = np.minimum.reduceat(records["label"], starts)
                highest = np.maximum.reduceat(records["label"], starts)
                texts, several = texts + len(starts), several + int((lowest != highest).sum())
        return texts, several

    def statistics(self) -> dict[str, Any]:
        """Return the figures as JSON, labels in order."""
        texts, several = self.conflicts()
        ordered = ranges(self.numbers) if self.numbers else dict(sorted(self.counts.items()))
        total = max(1, sum(ordered.values()))
        return {
            "rows": self.rows,
            "distinct_texts": texts,
            "texts_with_several_labels": several,
            "labels": ordered,
            "shares": {label: round(count / total, 6) for label, count in ordered.items()},
        }


def ranges(numbers: Mapping[float, int], parts: int = 10) -> dict[str, int]:
    """Return how many of the numbers, each with its count, lie in each of so many equal ranges."""
    counts, edges = np.histogram(list(numbers), parts, weights=list(numbers.values()))
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return dict(zip(names, counts.astype(int).tolist(), strict=True))


def kinds(labels: Iterable[str]) -> list[list[str]]:
    """Return the labels that are one, written in several ways: `1` and `1.0`, `Yes` and `yes`, `a b` and `a  b`."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(_plain(label), []).append(label)
    return [sorted(group) for _, group in sorted(groups.items()) if len(group) > 1]


def _plain(label: str) -> str:
    folded = " ".join(label.split()).casefold()
    return match[1] if (match := WHOLE_NUMBER.fullmatch(folded)) else folded


def count_reasons(reasons: Iterable[str]) -> Counter[str]:
    """Return how many of the reasons are of each kind, which is what stands before the colon."""
    return Counter(reason.partition(":")[0] for reason in reasons)


def ranked(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts, largest first."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
