"""The bundle: model, tokenizer and labels in one folder, enough to answer a text.

Keras is not imported here: a bundle whose model is in another format answers without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from pipeline.config import Clean, Decode
from pipeline.data.answers import CLASSES, words_of
from pipeline.data.tokens.contexts import ContextEncoder
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.packing import pack
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.windows import Windows, windows
from pipeline.data.tokens.words import WordEncoder
from pipeline.errors import SourceError
from pipeline.extract import text_answers, window_answers
from pipeline.formats.formats import FORMATS, KERAS, BundleError, format_of, open_model
from pipeline.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from models.classifier import SegmentClassifier, TokenClassifier
    from models.language_models import LanguageModel
    from pipeline.writing import Written

MODEL, TOKENIZER, CARD = FORMATS[KERAS].file, "tokenizer.json", "bundle.json"
ROWS_PER_BATCH = 32
FEW_TEXTS = 128


@dataclass(frozen=True)
class Bundle:
    """A model of a task that is ready to answer.

    Attributes:
        task: str. Name of the task.
        kind: str. Of the task: classification, multi_label, regression, tagging, question_answering or generation.
        labels: tuple of str. The classes, in the order of the probabilities; of other kinds none.
        sequence_length: int. Longest text in tokens; longer ones are truncated or cut into several.
        tokenizer: Tokenizer. As trained.
        clean: Clean. What was repaired and redacted in the texts that it learned from, and so is in those it is asked.
        model: SegmentClassifier, SegmentRegressor, TokenClassifier, SpanClassifier, or of generation a LanguageModel;
            or one of `pipeline.formats` that answers as it does.
        thresholds: tuple of float. Of multi_label: the probability above which each label is given.
        long_texts: str. What becomes of texts longer than the model, `slide` or else truncation.
        temperature: float. What a classifier's logits are divided by, so that its confidence can be believed.
        prompt: str or None. Of generation: what the texts are put into.
        decode: Decode or None. Of generation: how answers are written; None until the bundle is published.
    """

    task: str
    kind: str
    labels: tuple[str, ...]
    sequence_length: int
    tokenizer: Tokenizer
    clean: Clean
    model: SegmentClassifier | TokenClassifier | LanguageModel
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    long_texts: str = "truncate"
    prompt: str | None = None
    decode: Decode | None = None

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle; no code from the file is run.

        Raises:
            BundleError: a file is missing or damaged, or the files are not of one bundle.
        """
        model = MODEL
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8")) if (folder / CARD).is_file() else {}
            model = FORMATS[format_of(card)].file
            if missing := [name for name in (model, TOKENIZER, CARD) if not (folder / name).exists()]:
                raise BundleError(f"{folder} is not a whole bundle: it lacks {', '.join(missing)}; {_expected(model)}")
            bundle = cls(
                task=card["task"],
                kind=card["kind"],
                labels=tuple(card["labels"]),
                sequence_length=card["sequence_length"],
                tokenizer=load_tokenizer(folder / TOKENIZER),
                clean=Clean.model_validate(card["clean"]),
                model=open_model(folder, card),
                thresholds=tuple(card["thresholds"]),
                temperature=card["temperature"],
                long_texts=card.get("long_texts", "truncate"),  # bundles of before have none
                prompt=card.get("prompt"),
                decode=Decode.model_validate(card["decode"]) if card.get("decode") else None,
            )
            bundle._require_one_origin()
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(
                f"{folder} is not a sound bundle ({type(error).__name__}: {error}); {_expected(model)}"
            ) from error
        return bundle

    def save(self, folder: Path) -> None:
        """Write the bundle."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / MODEL)
        self.tokenizer.save(str(folder / TOKENIZER))
        card: dict[str, Any] = {
            "task": self.task,
            "kind": self.kind,
            "labels": list(self.labels),
            "thresholds": list(self.thresholds),
            "temperature": self.temperature,
            "sequence_length": self.sequence_length,
            "long_texts": self.long_texts,
            "clean": self.clean.model_dump(mode="json"),
        }
        if self.kind == "generation":
            card |= {"prompt": self.prompt, "decode": self.decode.model_dump(mode="json") if self.decode else None}
        (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf-8")

    def answer(
        self, texts: Sequence[str], pairs: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> np.ndarray | list[np.ndarray] | Written:
        """Return what the model says of each text, or of each text and its second text.

        Texts are packed into rows as in training, so that short ones do not pay for a long row.

        Returns:
            classification, multi_label: (texts, labels) float32, how likely each label is.
            regression: (texts,) float32.
            tagging: for each text (words, labels) float32; the words are those between its blanks, once it is cleaned.
            question_answering: (texts, answers, 3) float32, as `pipeline.extract.text_answers` says; characters are
                those of the text once it is cleaned.
            generation: Written.

        Raises:
            SourceError: a question is missing.
        """
        progress = progress or SilentProgress()
        if self.kind == "generation":
            from pipeline.writing import write

            return write(self, texts, pairs, progress)
        if self.kind == "tagging":
            return self._tag(texts, progress)
        if self.kind == "question_answering":
            return self._extract(texts, pairs or [None] * len(texts), progress)
        outputs = self.model.num_classes
        if not len(texts):
            return np.zeros((0,) if self.kind == "regression" else (0, outputs), np.float32)
        seen = self._windows(self.cleaned(texts), None if pairs is None else self.cleaned(pairs))
        said = np.zeros((len(seen.documents), outputs), np.float32)
        for owners, rows in self._outputs(seen.documents, progress, self.model.segments_per_row):
            rows = rows.reshape(*rows.shape[:2], outputs)[:, : owners.shape[1]]  # (rows, segments, outputs)
            said[owners[owners >= 0]] = rows[owners >= 0]
        first = np.flatnonzero(np.diff(seen.owners, prepend=-1))  # (texts,)
        means = np.add.reduceat(said, first, axis=0) / np.bincount(seen.owners)[:, None].astype(np.float32)
        answers: np.ndarray = ACTIVATIONS[self.kind](means / self.temperature)
        return answers[:, 0] if self.kind == "regression" else answers

    @cached_property
    def encoder(self) -> TextEncoder:
        """Makes token ids; made once, because that takes longer than to answer a text."""
        return TextEncoder(self.tokenizer, whole_up_to=FEW_TEXTS)

    def _windows(self, texts: pa.Array, pairs: pa.Array | None) -> Windows:
        """Return what is read of each text, which is one document unless it is long and read in several."""
        if self.long_texts == "slide":
            return windows(self.encoder, texts, pairs, self.sequence_length)
        return Windows(self.encoder.encode(texts, pairs, max_length=self.sequence_length), np.arange(len(texts)))

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each text that a tagger tags."""
        return [words_of(text) for text in self.cleaned(texts).to_pylist()]

    def _tag(self, texts: Sequence[str], progress: Progress) -> list[np.ndarray]:
        cut = WordEncoder(self.encoder).windows(self.cleaned(texts), self.sequence_length)
        found: list[np.ndarray] = [np.empty((0, len(self.labels)), np.float32)] * len(cut.documents)
        for document, logits in self._by_document(cut.documents, progress):
            found[document] = softmax(logits[cut.starts[document]])
        first = np.searchsorted(cut.owners, np.arange(len(texts) + 1))
        return [np.concatenate(found[start:end]) for start, end in pairwise(first)]

    def _extract(self, texts: Sequence[str], questions: Sequence[str | None], progress: Progress) -> np.ndarray:
        if missing := [number for number, question in enumerate(questions, start=1) if not (question or "").strip()]:
            raise SourceError(
                f"text {missing[0]} of {len(texts)} comes without a question, and the model answers questions about "
                "texts; give it as second text: --pair of tradewind predict, pairs over HTTP"
            )
        windows = ContextEncoder(self.encoder).windows(
            self.cleaned(texts), self.cleaned(questions), self.sequence_length
        )
        if len(windows.documents) > len(texts):
            progress.say(f"{len(texts):,} texts are read in {len(windows.documents):,} windows; the best answer counts")
        found = [(1.0, np.empty((0, 3)))] * len(windows.documents)
        for document, logits in self._by_document(windows.documents, progress):
            begins, ends = windows.begins[document], windows.ends[document]
            found[document] = window_answers(logits[: len(begins) + 1], begins, ends, self.model.longest_answer)
        return text_answers(windows, found, self.model.answers_none)

    def _by_document(self, documents: Ragged, progress: Progress) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each document's number and what the model says of its tokens, (tokens, outputs)."""
        alone = None if self.model.encoder.packs else 1
        for owners, rows in self._outputs(documents, progress, alone) if len(documents) else ():
            for row, own in zip(rows, owners, strict=True):  # row: (seq, outputs)
                begin = 0
                for document in own[own >= 0].tolist():
                    end = begin + int(documents.lengths[document])
                    yield document, row[begin:end]
                    begin = end

    def _outputs(
        self, documents: Ragged, progress: Progress, segments: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield which documents each of some packed rows holds, -1 for none, and what the model says of these rows."""
        longest = int(documents.lengths.max())
        # A row as long as needed, in few distinct lengths, because each one is compiled once.
        length = next(n for n in _row_lengths(self.sequence_length) if n >= longest) if len(documents) == 1 else None
        pad = self.encoder.vocabulary.pad
        packed = pack(documents, length or self.sequence_length, seed=0, pad=pad, max_segments=segments)
        for start in range(0, len(packed), ROWS_PER_BATCH):
            rows = slice(start, start + ROWS_PER_BATCH)
            said = self.model.predict_on_batch(
                {
                    "token_ids": _filled(packed.token_ids[rows], len(packed)),
                    "segment_ids": _filled(packed.segment_ids[rows], len(packed)),
                }
            )
            owners = packed.documents[rows]
            yield owners, said[: len(owners)]
            progress.update(min(start + ROWS_PER_BATCH, len(packed)), len(packed))

    def cleaned(self, texts: Sequence[str | None]) -> pa.Array:
        """Return texts as the model learned them: repaired and redacted."""
        from pipeline.data.text.repair import clean

        return clean(pa.array(texts, pa.string()), self.clean)[0]

    def _require_one_origin(self) -> None:
        """Raise ValueError when the files come from different bundles: the answers would be numbers without meaning."""
        tokens = self.tokenizer.get_vocab_size()
        if self.kind == "generation":  # the sentinels of lost spans stand behind the tokenizer's ids
            if tokens > (known := self.model.backbone.architecture()["vocabulary_size"]):
                raise ValueError(f"{TOKENIZER} has {tokens} tokens and {MODEL} knows {known}")
            return
        if self.kind in CLASSES and self.model.num_classes != len(self.labels):
            raise ValueError(f"{CARD} names {len(self.labels)} labels and {MODEL} answers {self.model.num_classes}")
        if tokens != (known := self.model.encoder.vocabulary_size):
            raise ValueError(f"{TOKENIZER} has {tokens} tokens and {MODEL} knows {known}")


def _expected(model: str) -> str:
    writer = "a fine-tuning" if model == MODEL else "`publish`"
    return f"expected {model}, {TOKENIZER} and {CARD} as {writer} writes them"


def _row_lengths(longest: int) -> list[int]:
    lengths = [16]
    while lengths[-1] < longest:
        lengths.append(min(lengths[-1] * 2, longest))
    return lengths


def _filled(rows: np.ndarray, total: int) -> np.ndarray:
    """Return int32 rows, filled up with empty ones to a power of two: few distinct sizes, each compiled once."""
    size = min(ROWS_PER_BATCH, 1 << (total - 1).bit_length())
    return np.pad(rows.astype(np.int32), ((0, size - len(rows)), (0, 0)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return normalised


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-logits)), without an overflow."""
    likely: np.ndarray = np.exp(-np.logaddexp(0, -logits))
    return likely


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "classification": softmax,
    "multi_label": sigmoid,
    "regression": np.asarray,
}
