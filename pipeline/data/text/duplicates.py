"""Exact duplicates by 128-bit keys, near duplicates by MinHash bands that agree.

Texts are given in normal form (`words.normalise`). On the ICD-10-CM texts (6.5 words each), nanoseconds a word on one
core: `keys` 90, `band_keys` 230, `first_of_equal` 30, `clusters` 100 for all bands together.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.config import NearDuplicates
from pipeline.data.text.arrays import begins, pieces
from pipeline.data.text.words import MULTIPLIER, count_words, space_out

# What the two halves of a key are hashed with; another value would change every key.
SIPHASH_KEYS = ("tradewind key 1.", "tradewind key 2.")


def keys(normal: pa.Array) -> np.ndarray:
    """Return a 128-bit key of each text, (texts, 2) uint64: equal for equal texts, and in practice only for them.

    Args:
        normal: pa.Array of string, (texts,). From `normalise`; a second text may follow on a line of its own.
    """
    found = [np.empty((0, 2), np.uint64)]
    for piece in pieces(normal):
        values = piece.to_numpy(zero_copy_only=False)
        halves = [pd.util.hash_array(values, hash_key=key, categorize=False) for key in SIPHASH_KEYS]
        found.append(np.stack(halves, axis=1))
    return np.concatenate(found)


def first_of_equal(keys: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return which rows stay when of equal keys the one of the highest rank stays, the earliest of these.

    Args:
        keys: (rows, 2) uint64. From `keys`.
        rank: (rows,) int. Such as the place in SPLITS, so that a test row outlives its equal in training.

    Returns:
        (rows,) bool.
    """
    order = np.lexsort((_falling(rank), keys[:, 1], keys[:, 0]))
    kept = np.zeros(len(keys), bool)
    kept[order] = begins(keys[order, 0]) | begins(keys[order, 1])
    return kept


def band_keys(normal: pa.Array, config: NearDuplicates) -> tuple[np.ndarray, np.ndarray]:
    """Return the MinHash signature of each text in bands, and which texts are long enough to take part.

    Texts whose sets of word n-grams have Jaccard similarity s agree in at least one band of r rows with probability
    1 - (1 - s^r)^bands. For the default (threshold 0.8, 9 bands of 13 rows) that is 1 % at s = 0.6, 8 % at 0.7,
    40 % at 0.8, 93 % at 0.9 and 99.9 % at 0.95.

    Args:
        normal: pa.Array of string, (texts,). From `normalise`.
        config: NearDuplicates.

    Returns:
        (texts, bands) uint64, equal where the band is; (texts,) bool.
    """
    bands, rows = choose_bands(config.threshold, config.num_hashes)
    found = [np.empty((0, bands), np.uint64)]
    long = [np.empty(0, bool)]
    for piece in pieces(normal):
        spaced = space_out(piece)
        long.append(count_words(spaced) >= config.ngram)
        found.append(_band_keys(spaced, config, bands, rows))
    return np.concatenate(found), np.concatenate(long)


def clusters(columns: Iterable[np.ndarray], taking: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return the text that stands for each text's cluster: the one of the highest rank, the earliest of these.

    A cluster holds all texts that agree in a band with another of it, however long the chain. Pairs are not verified:
    the texts that stay then agree with each other in no band, so a second pass finds nothing to remove, as it would
    where a removed text had been the only link between two others.

    Args:
        columns: iterable of (texts,) uint64. The band keys of all texts, one band at a time; one is in memory at once.
        taking: (texts,) bool. Texts that take part; the others stand for themselves.
        rank: (texts,) int. As of `first_of_equal`.

    Returns:
        (texts,) int64 positions; a text stays where it is its own.
    """
    members = np.flatnonzero(taking)
    labels = np.arange(len(members))
    for column in columns:
        values = column[members]
        order = np.argsort(values, kind="stable")
        again = np.flatnonzero(~begins(values[order]))
        labels = _merge(labels, labels[order[again - 1]], labels[order[again]])
    order = np.lexsort((_falling(rank[members]), labels))
    best = order[begins(labels[order])]  # (clusters,) in the order of the labels
    standing = np.arange(len(taking))
    standing[members] = members[best[np.searchsorted(labels[best], labels)]]
    return standing


@functools.cache
def choose_bands(threshold: float, num_hashes: int) -> tuple[int, int]:
    """Return bands and rows whose curve has the least area on the wrong side of the threshold.

    The sum of false positives below and false negatives above it, each equally dear, texts of every similarity equally
    many; as in the package datasketch, after Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.
    """
    similarity = (np.arange(1000) + 0.5) / 1000
    wanted = similarity >= threshold
    shapes = [(bands, rows) for bands in range(1, num_hashes + 1) for rows in range(1, num_hashes // bands + 1)]

    def errors(shape: tuple[int, int]) -> float:
        bands, rows = shape
        return float(np.abs(wanted - (1 - (1 - similarity**rows) ** bands)).sum())

    return min(shapes, key=errors)


def _band_keys(spaced: pa.Array, config: NearDuplicates, bands: int, rows: int) -> np.ndarray:
    """Return the bands of the signatures of spaced texts, (texts, bands) uint64."""
    os.environ["DO_NOT_TRACK"] = "1"  # Daft reports its use to its makers otherwise
    import daft

    signatures = daft.Series.from_arrow(spaced).minhash(config.num_hashes, config.ngram).to_arrow()
    values = signatures.flatten().to_numpy().reshape(len(spaced), config.num_hashes)
    values = values[:, : bands * rows].reshape(len(spaced), bands, rows)
    found = np.zeros((len(spaced), bands), np.uint64)
    for row in range(rows):
        found = found * MULTIPLIER + values[:, :, row]
    return found


def _merge(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return labels in which each pair of labels left and right is one, the lowest of all that belong together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    links = (ends[: len(left)], ends[len(left) :])
    graph = coo_array((np.ones(len(left), bool), links), shape=(len(nodes), len(nodes)))
    _, components = connected_components(graph, directed=False)
    _, lowest = np.unique(components, return_index=True)
    becomes = np.arange(len(labels))
    becomes[nodes] = nodes[lowest[components]]
    merged: np.ndarray = becomes[labels]
    return merged


def _falling(rank: np.ndarray) -> np.ndarray:
    return -rank.astype(np.int8)
