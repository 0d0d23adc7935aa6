"""What the classifier takes from the training rows besides gradients: spellings, rarities, class frequencies."""

from __future__ import annotations

import json
import math

import keras
import numpy as np
from tokenizers import Tokenizer

from models.ngrams import CODES, SPACE, NgramBag
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.vocabulary import Vocabulary

LONGEST = 24
WHITE = {"Ġ", "▁", " "}  # how byte-level BPE and SentencePiece write white space
FEWEST = 3  # documents; a rarer n-gram says nothing of the next text
ROWS_PER_PASS = 256


def make_bag(dim: int, tokenizer: Tokenizer, rows: ShardedRows) -> NgramBag | None:
    """Return a bag of embeddings this wide that knows the tokenizer's spellings and the rows' rarities; of 0, None."""
    if not dim:
        return None
    spellings = spell(tokenizer)
    bag = NgramBag(len(spellings), LONGEST, dim, name="ngrams")
    bag.build()
    bag.spellings.assign(spellings)
    bag.rarity.assign(measure_rarity(bag, rows))
    return bag


def spell(tokenizer: Tokenizer, longest: int = LONGEST) -> np.ndarray:
    """Return the codes of every token's first characters, (vocabulary, longest) int32; special tokens have none."""
    continuing = json.loads(tokenizer.to_str())["model"].get("continuing_subword_prefix")
    ordinary = Vocabulary.of(tokenizer).ordinary()
    spellings = np.zeros((len(ordinary), longest), np.int32)
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        if not ordinary[number]:
            continue
        written = token
        if continuing:  # WordPiece marks what goes on, not what begins
            written = token.removeprefix(continuing) if token.startswith(continuing) else " " + token
        codes = [SPACE if character in WHITE else 2 + ord(character) % (CODES - 2) for character in written[:longest]]
        spellings[number, : len(codes)] = codes
    return spellings


def measure_rarity(bag: NgramBag, rows: ShardedRows) -> np.ndarray:
    """Return log inverse document frequencies of the n-grams in the rows, (buckets,) float32; 0 for the rarest."""
    documents = 0
    counts = np.zeros(bag.buckets, np.int64)
    for start in range(0, len(rows), ROWS_PER_PASS):
        numbers = np.arange(start, start + ROWS_PER_PASS)  # one size, so that it is compiled once
        part = rows.take(numbers % len(rows))
        segments = part.segment_ids * (numbers < len(rows))[:, None]
        documents += int(segments.max(axis=1).sum())
        # torch computes with no NumPy arrays.
        asked = (keras.ops.convert_to_tensor(array.astype(np.int32)) for array in (part.token_ids, segments))
        for group in bag.find(*asked):
            for found in group:
                hashed, owners = (keras.ops.convert_to_numpy(array).astype(np.int64) for array in found)
                document = np.arange(len(owners))[:, None] * (rows.sequence_length + 1) + owners
                once = np.unique((document * bag.buckets + hashed)[owners > 0])
                counts += np.bincount(once % bag.buckets, minlength=bag.buckets)
    rarity = math.log1p(documents) - np.log1p(counts) + 1
    least = FEWEST if documents >= 1000 else 1
    return np.where(counts >= least, np.maximum(rarity, 0), 0).astype(np.float32)


def adjustment(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the log frequency of each class, (num_classes,) float32 (Menon 2020, arXiv 2007.07314)."""
    counts = np.bincount(labels, minlength=num_classes)
    return np.log(np.maximum(counts, 1) / len(labels)).astype(np.float32)
