"""The bundle: model, tokenizer and labels in one folder, enough to answer a text anywhere Keras runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from models.classifier import SegmentClassifier
from pipeline.config import Clean
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.packing import pack
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.errors import TradewindError
from pipeline.progress import Progress, SilentProgress

MODEL, TOKENIZER, CARD = "model.keras", "tokenizer.json", "bundle.json"
ROWS_PER_BATCH = 32


class BundleError(TradewindError):
    """A folder is not a whole bundle: a file is missing, damaged, or of another format."""


@dataclass(frozen=True)
class Bundle:
    """A text classifier that is ready to answer.

    Attributes:
        task: str. Name of the task.
        labels: tuple of str. The classes, in the order of the probabilities.
        sequence_length: int. Longest text in tokens; longer ones are truncated.
        tokenizer: Tokenizer. As trained.
        clean: Clean. What was repaired and redacted in the texts that it learned from, and so is in those it is asked.
        model: SegmentClassifier. Answers one text per row.
    """

    task: str
    labels: tuple[str, ...]
    sequence_length: int
    tokenizer: Tokenizer
    clean: Clean
    model: SegmentClassifier

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle; no code from the file is run.

        Raises:
            BundleError: a file is missing or damaged, or the files are not of one bundle.
        """
        if missing := [name for name in (MODEL, TOKENIZER, CARD) if not (folder / name).is_file()]:
            raise BundleError(
                f"{folder} is not a whole bundle: it lacks {', '.join(missing)}; expected {MODEL}, {TOKENIZER} and "
                f"{CARD} as a fine-tuning writes them"
            )
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            bundle = cls(
                task=card["task"],
                labels=tuple(card["labels"]),
                sequence_length=card["sequence_length"],
                tokenizer=load_tokenizer(folder / TOKENIZER),
                clean=Clean.model_validate(card["clean"]),
                model=keras.saving.load_model(folder / MODEL, compile=False, safe_mode=True),
            )
            bundle._require_one_origin()
        except Exception as error:
            raise BundleError(
                f"{folder} is not a sound bundle ({type(error).__name__}: {error}); expected {MODEL}, {TOKENIZER} and "
                f"{CARD} as a fine-tuning writes them"
            ) from error
        return bundle

    def save(self, folder: Path) -> None:
        """Write the bundle."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / MODEL)
        self.tokenizer.save(str(folder / TOKENIZER))
        card: dict[str, Any] = {
            "task": self.task,
            "labels": list(self.labels),
            "sequence_length": self.sequence_length,
            "clean": self.clean.model_dump(mode="json"),
        }
        (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf-8")

    def probabilities(
        self, texts: Sequence[str], pairs: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """Return (texts, labels) float32: how likely each label is for each text, or text and second text.

        Texts are packed into rows as in training, so that short ones do not pay for a long row.
        """
        progress = progress or SilentProgress()
        answers = np.zeros((len(texts), len(self.labels)), np.float32)
        if not len(texts):
            return answers
        encoder = TextEncoder(self.tokenizer)
        documents = encoder.encode(
            self._cleaned(texts), None if pairs is None else self._cleaned(pairs), max_length=self.sequence_length
        )
        longest = int(documents.lengths.max())
        # A row as long as needed, in few distinct lengths, because each one is compiled once.
        length = next(n for n in _row_lengths(self.sequence_length) if n >= longest) if len(texts) == 1 else None
        packed = pack(
            documents,
            length or self.sequence_length,
            seed=0,
            pad=encoder.vocabulary.pad,
            max_segments=self.model.segments_per_row,
        )
        segments = np.arange(self.model.segments_per_row)
        for start in range(0, len(packed), ROWS_PER_BATCH):
            rows = slice(start, start + ROWS_PER_BATCH)
            logits = self.model.predict_on_batch(
                {
                    "token_ids": _filled(packed.token_ids[rows], len(packed)),
                    "segment_ids": _filled(packed.segment_ids[rows], len(packed)),
                }
            )
            owners = packed.documents[rows][:, : len(segments)]
            present = owners >= 0
            answers[owners[present]] = _softmax(logits[: len(owners), : owners.shape[1]][present])
            progress.update(min(start + ROWS_PER_BATCH, len(packed)), len(packed))
        return answers

    def _cleaned(self, texts: Sequence[str | None]) -> pa.Array:
        from pipeline.data.text.repair import clean

        return clean(pa.array(texts, pa.string()), self.clean)[0]

    def _require_one_origin(self) -> None:
        """Raise ValueError when the files come from different bundles: the answers would be numbers without meaning."""
        if not isinstance(self.model, SegmentClassifier):
            raise ValueError(f"{MODEL} holds a {type(self.model).__name__}, not a SegmentClassifier")
        if self.model.num_classes != len(self.labels):
            raise ValueError(f"{CARD} names {len(self.labels)} labels and {MODEL} answers {self.model.num_classes}")
        tokens, known = self.tokenizer.get_vocab_size(), self.model.encoder.vocabulary_size
        if tokens != known:
            raise ValueError(f"{TOKENIZER} has {tokens} tokens and {MODEL} knows {known}")


def _row_lengths(longest: int) -> list[int]:
    lengths = [16]
    while lengths[-1] < longest:
        lengths.append(min(lengths[-1] * 2, longest))
    return lengths


def _filled(rows: np.ndarray, total: int) -> np.ndarray:
    """Return int32 rows, filled up with empty ones to a power of two: few distinct sizes, each compiled once."""
    size = min(ROWS_PER_BATCH, 1 << (total - 1).bit_length())
    return np.pad(rows.astype(np.int32), ((0, size - len(rows)), (0, 0)))


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Return softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return normalised
