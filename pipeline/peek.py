"""What the model will see: packed rows as pieces of text, with what is hidden in pretraining, and a task's labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from pipeline.data.tokens.packing import PackedRows
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.training.batches import BatchShape, MaskedBatches, shuffled_rows


@dataclass(frozen=True)
class Token:
    """One token: the piece that the model is shown, and the one that it has to predict, where it has to."""

    piece: str
    target: str | None = None


@dataclass(frozen=True)
class Document:
    """One document of a row: its text as the tokens give it back, its tokens, and its label in a task."""

    text: str
    tokens: tuple[Token, ...]
    label: str | None = None


@dataclass(frozen=True)
class Row:
    """One packed row: its documents, and how many tokens are left empty."""

    documents: tuple[Document, ...]
    padding: int


def peek_rows(tokens: Path, seed: int, rows: int) -> list[Row]:
    """Return the first rows of pretraining as they are; arguments as of `peek_corpus`."""
    tokenizer, sharded = load_tokenizer(tokens / "tokenizer.json"), ShardedRows(tokens / "corpus" / "train")
    packed: PackedRows = sharded.take(shuffled_rows(0, rows, len(sharded), seed))
    nothing = np.zeros(packed.token_ids.shape, bool)
    parts = zip(packed.token_ids, packed.token_ids, nothing, packed.segment_ids, strict=True)
    return [_row(tokenizer, *each, labels=None) for each in parts]


def peek_corpus(tokens: Path, mask_fraction: float, seed: int, rows: int) -> list[Row]:
    """Return the first rows of an encoder's pretraining, masked as in the first update.

    Args:
        tokens: Path. The artifact of `preprocess`.
        mask_fraction: float. Share of a row that is predicted.
        seed: int. Of order and masks.
        rows: int. How many.
    """
    tokenizer, sharded = load_tokenizer(tokens / "tokenizer.json"), ShardedRows(tokens / "corpus" / "train")
    shape = BatchShape(rows, rows)
    batch = MaskedBatches(sharded, shape, Vocabulary.of(tokenizer), seed, mask_fraction).batch(0)
    shown, positions, targets, weights = (
        batch[name][0] for name in ("token_ids", "positions", "targets", "weights")
    )  # (rows, sequence_length), then (rows, predictions)
    original = shown.copy()
    np.put_along_axis(original, positions, targets, axis=1)
    asked = np.zeros(shown.shape, bool)
    np.put_along_axis(asked, positions, weights > 0, axis=1)
    segments = batch["segment_ids"][0]
    return [_row(tokenizer, *parts, labels=None) for parts in zip(shown, original, asked, segments, strict=True)]


def peek_task(tokens: Path, task: str, seed: int, rows: int) -> list[Row]:
    """Return the first rows of a task's fine-tuning; arguments as of `peek_corpus`."""
    folder = tokens / "tasks" / task
    tokenizer, sharded = load_tokenizer(tokens / "tokenizer.json"), ShardedRows(folder / "train")
    table = pq.read_table(folder / "train.parquet")
    labels = table["label"]
    if "windows" in table.column_names:  # of a row, each a document
        labels = labels.take(np.repeat(np.arange(len(table)), table["windows"].to_numpy()))
    packed: PackedRows = sharded.take(shuffled_rows(0, rows, len(sharded), seed))
    return [
        _row(
            tokenizer,
            ids,
            ids,
            np.zeros(len(ids), bool),
            segments,
            [str(labels[int(owner)]) for owner in owners if owner >= 0],
        )
        for ids, segments, owners in zip(packed.token_ids, packed.segment_ids, packed.documents, strict=True)
    ]


def _row(
    tokenizer: Tokenizer,
    shown: np.ndarray,
    original: np.ndarray,
    asked: np.ndarray,
    segments: np.ndarray,
    labels: list[str] | None,
) -> Row:
    """Return one row; the arrays are (sequence_length,)."""

    def documents() -> Iterator[Document]:
        for number in range(1, int(segments.max()) + 1):
            here = segments == number
            tokens = tuple(
                Token(_piece(tokenizer, one), _piece(tokenizer, other) if target else None)
                for one, other, target in zip(shown[here], original[here], asked[here], strict=True)
            )
            text = tokenizer.decode(original[here].tolist(), skip_special_tokens=True).strip()
            yield Document(text, tokens, labels[number - 1] if labels else None)

    return Row(tuple(documents()), int((segments == 0).sum()))


def _piece(tokenizer: Tokenizer, token: np.integer) -> str:
    """Return a token as text, with the blank before a word as `▁`; half a character stays as the vocabulary has it."""
    piece = str(tokenizer.id_to_token(int(token)))
    decoded = str(tokenizer.decode([int(token)], skip_special_tokens=False))
    if piece.startswith(("▁", "##")) or not decoded or "\ufffd" in decoded:
        return piece
    return decoded.replace(" ", "▁")
