"""What fine-tuning learns for each kind of task: its batches, its model, its loss.

| kind           | answer                | head                               | loss                             |
|----------------|-----------------------|------------------------------------|----------------------------------|
| classification | one class of a text   | mean of its states, softmax        | cross-entropy                    |
| multi_label    | any of the classes    | the same, a sigmoid for each class | binary cross-entropy             |
| regression     | a number              | the same, one number               | squared error over the variance  |
| tagging        | a class for each word | state of the word's first piece    | cross-entropy                    |
| question_      | a stretch of the text | each token's state: begin, end     | mean of two cross-entropies      |
| answering      | or none               |                                    | over the tokens of the window    |
| generation     | a text                | the language model's own           | cross-entropy of its tokens      |
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import keras
import numpy as np
import pyarrow.compute as pc

from models.backbones import Backbone, EncoderDecoder
from models.classifier import SegmentClassifier, SegmentRegressor, SpanClassifier, TokenClassifier
from models.objectives import segment_label_sets, segment_labels, segment_spans, segment_values, written_tokens
from pipeline.backbone import LANGUAGE_MODELS
from pipeline.config import Finetune
from pipeline.data.tokens.contexts import ContextEncoder, Windows
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.data.tokens.words import WordEncoder
from pipeline.training.batches import (
    AnswerBatches,
    BatchShape,
    CompletionBatches,
    CorpusBatches,
    TaggedBatches,
    TeacherBatches,
)
from pipeline.training.batches.sequences import widths_of
from pipeline.training.steppers import Objective
from pipeline.training.watch.evaluation import Metric
from pipeline.tuning.labelled_task import LabelledTask
from pipeline.tuning.metrics import MACRO_F1, MICRO_F1, R2, SPAN_F1, TOKEN_ACCURACY, tag_f1


class ClassificationTask(LabelledTask):
    """One class for each text."""

    def answers(self, split: str) -> np.ndarray:
        """Return the class of each text, (texts,) int32."""
        return self.numbers(self.column(split))

    def model(self, encoder: Backbone, config: Finetune) -> keras.Model:
        """Return the model, not built."""
        bag = self.bag(config)
        return SegmentClassifier(encoder, len(self.labels), self.segments, config.dropout, bag, config.ngram_share)

    def objective(self, config: Finetune) -> Objective:
        """Return cross-entropy."""
        return _cross_entropy(config)

    @property
    def metric(self) -> Metric:
        """Macro-F1."""
        return MACRO_F1


class MultiLabelTask(ClassificationTask):
    """Any number of classes for each text."""

    def answers(self, split: str) -> np.ndarray:
        """Return which classes each text has, (texts, classes) uint8."""
        column = self.column(split)
        sets = np.zeros((len(column), len(self.labels)), np.uint8)
        sets[np.repeat(np.arange(len(column)), pc.list_value_length(column)), self.numbers(column.flatten())] = 1
        return sets

    def objective(self, config: Finetune) -> Objective:
        """Return binary cross-entropy."""
        return partial(segment_label_sets, label_smoothing=config.label_smoothing)

    @property
    def metric(self) -> Metric:
        """Micro-F1 at a threshold of one half."""
        return MICRO_F1


class RegressionTask(LabelledTask):
    """A number for each text."""

    def answers(self, split: str) -> np.ndarray:
        """Return the number of each text, (texts,) float32."""
        values: np.ndarray = self.column(split).to_numpy().astype(np.float32)
        return values

    @property
    def offset(self) -> float:
        """The mean of the training answers."""
        return float(self.column("train").to_numpy().mean())

    @property
    def scale(self) -> float:
        """The spread of the training answers, and the unit of the loss."""
        return float(self.column("train").to_numpy().std()) or 1.0

    def model(self, encoder: Backbone, config: Finetune) -> keras.Model:
        """Return the model, not built."""
        return SegmentRegressor(
            encoder,
            self.offset,
            self.scale,
            segments_per_row=self.segments,
            dropout=config.dropout,
            ngrams=self.bag(config),
            ngram_share=config.ngram_share,
        )

    def objective(self, config: Finetune) -> Objective:  # noqa: ARG002 (nothing of it is about numbers)
        """Return the squared error over the variance of the training answers."""
        return partial(segment_values, offset=self.offset, scale=self.scale)

    @property
    def metric(self) -> Metric:
        """R squared."""
        return R2


class TaggingTask(LabelledTask):
    """A class for each word."""

    def batches(self, split: str, shape: BatchShape, seed: int) -> TaggedBatches:
        """Return the batches of a split."""
        tags = self._tags(split)
        return TaggedBatches(self.splits[split], self.answers(split), self.segments, shape, seed, tags)

    def answers(self, split: str) -> np.ndarray:
        """Return the tags of all words of all texts, one after the other, (words,) int32."""
        return self.numbers(self.column(split).flatten())

    def model(self, encoder: Backbone, config: Finetune) -> keras.Model:
        """Return the model, not built."""
        return TokenClassifier(encoder, len(self.labels), dropout=config.dropout)

    def objective(self, config: Finetune) -> Objective:
        """Return cross-entropy."""
        return _cross_entropy(config)

    @property
    def metric(self) -> Metric:
        """F1 of the tags that mark something."""
        return tag_f1(self.labels)

    def _tags(self, split: str) -> Ragged:
        """Return for each token of each text the number of the tag that it is asked for, -1 where there is none."""
        encoder = WordEncoder(TextEncoder(load_tokenizer(self.tokens / "tokenizer.json")))
        encoded = encoder.encode(self.column(split, "text"), self.splits[split].sequence_length)
        tags = np.full(len(encoded.documents.values), -1, np.int32)
        kept = encoded.starts.lengths  # words of each text
        first = np.concatenate([[0], np.cumsum(pc.list_value_length(self.column(split)).to_numpy())])[:-1]
        words = Ragged(self.answers(split), np.array([0])).slices(first, kept)
        places = encoded.starts.values + np.repeat(encoded.documents.offsets[:-1], kept)
        tags[places] = words.values
        return Ragged(tags, encoded.documents.offsets)


class QuestionAnsweringTask(LabelledTask):
    """A stretch of each text, or none of it; what is learned from are the windows of the texts."""

    def __init__(self, tokens: Path, name: str, architecture: str = "encoder") -> None:
        super().__init__(tokens, name, architecture)
        self.windows = {split: self._windows(split) for split in self.splits}

    def batches(self, split: str, shape: BatchShape, seed: int) -> AnswerBatches:
        """Return the batches of a split."""
        candidates = self.windows[split].candidates()
        return AnswerBatches(self.splits[split], self.answers(split), self.segments, shape, seed, candidates)

    def answers(self, split: str) -> np.ndarray:
        """Return the first and the last token of each window's answer, (windows, 2) int32; 0 for none, -1 untaught."""
        return self.windows[split].targets(self._places(split))

    def model(self, encoder: Backbone, config: Finetune) -> keras.Model:
        """Return the model, not built; an answer may be as long as the longest that it learns from."""
        targets = self.answers("train")
        longest = int((targets[:, 1] - targets[:, 0]).max()) + 1
        return SpanClassifier(encoder, longest, not all(self._places("train")), config.dropout)

    def objective(self, config: Finetune) -> Objective:  # noqa: ARG002 (nothing of it is about spans)
        """Return the mean cross-entropy of begin and end."""
        return segment_spans

    @property
    def metric(self) -> Metric:
        """F1 of the tokens of the answers, window by window."""
        return SPAN_F1

    def _windows(self, split: str) -> Windows:
        encoder = ContextEncoder(TextEncoder(load_tokenizer(self.tokens / "tokenizer.json")))
        texts, questions = self.column(split, "text"), self.column(split, "text_pair")
        return encoder.windows(texts, questions, self.splits[split].sequence_length)

    def _places(self, split: str) -> list[list[tuple[int, int]]]:
        """Return begin and end of each text's acceptable answers, in characters."""
        rows = self.column(split).to_pylist()
        return [[(span["start"], span["start"] + len(span["text"])) for span in spans] for spans in rows]


class GenerationTask(LabelledTask):
    """A text for each text."""

    writes = True

    def batches(self, split: str, shape: BatchShape, seed: int) -> CorpusBatches:
        """Return the batches of a split."""
        vocabulary = Vocabulary.of(load_tokenizer(self.tokens / "tokenizer.json"))
        rows = self.splits[split]
        if self.architecture == "decoder":
            return CompletionBatches(rows, shape, vocabulary, seed)
        parts = [part for rows in self.splits.values() for part in rows.arrays]
        arrays = ((part["token_ids"], part["segment_ids"]) for part in parts)
        return TeacherBatches(rows, shape, vocabulary, seed, widths_of(arrays, vocabulary.separator))

    def answers(self, split: str) -> np.ndarray:
        """Return the text that each text is to be answered with, (texts,) str."""
        texts: np.ndarray = self.column(split).to_numpy(zero_copy_only=False)
        return texts

    def model(self, encoder: Backbone | EncoderDecoder, config: Finetune) -> keras.Model:  # noqa: ARG002 (no head)
        """Return the language model of the backbone, not built."""
        return LANGUAGE_MODELS[self.architecture](encoder)

    def objective(self, config: Finetune) -> Objective:
        """Return the cross-entropy of target and end."""
        return partial(written_tokens, label_smoothing=config.label_smoothing, z_loss=config.z_loss)

    @property
    def metric(self) -> Metric:
        """The share of tokens that are right, each given the right ones before it."""
        return TOKEN_ACCURACY


def _cross_entropy(config: Finetune) -> Objective:
    return partial(
        segment_labels,
        label_smoothing=config.label_smoothing,
        z_loss=config.z_loss,
        focal_gamma=config.focal_gamma or 0.0,
    )


KINDS: dict[str, type[LabelledTask]] = {
    "classification": ClassificationTask,
    "multi_label": MultiLabelTask,
    "regression": RegressionTask,
    "tagging": TaggingTask,
    "question_answering": QuestionAnsweringTask,
    "generation": GenerationTask,
}
