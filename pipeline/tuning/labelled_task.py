"""What fine-tuning asks of a task, whatever its kind: its rows, their batches and answers, its model and its loss."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.backbones import Backbone
from models.ngrams import NgramBag
from pipeline.config import Finetune
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.ngrams import make_bag
from pipeline.training.batches import BatchShape, CorpusBatches, LabelledBatches
from pipeline.training.steppers import Objective
from pipeline.training.watch.evaluation import Metric


class LabelledTask(ABC):
    """A task's rows as they are learned from.

    Args:
        tokens: Path. The artifact of `preprocess`.
        name: str. The task.
        architecture: str. Of the model.

    Attributes:
        labels: list of str. The classes or tags; of numbers none.
        splits: dict of str to ShardedRows. Packed rows of train and validation.
        segments: int. Most texts in a row.
    """

    writes = False  # whether the whole backbone is learned, and not only what reads

    def __init__(self, tokens: Path, name: str, architecture: str = "encoder") -> None:
        self.tokens = tokens
        self.architecture = architecture
        self.folder = tokens / "tasks" / name
        self.labels: list[str] = json.loads((self.folder / "labels.json").read_text())
        self.splits = {split: ShardedRows(self.folder / split) for split in ("train", "validation")}
        self.segments = max(rows.segments_per_row for rows in self.splits.values())

    def batches(self, split: str, shape: BatchShape, seed: int) -> LabelledBatches | CorpusBatches:
        """Return the batches of a split."""
        return LabelledBatches(self.splits[split], self.answers(split), self.segments, shape, seed)

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """What tells the better of two validations."""

    @abstractmethod
    def answers(self, split: str) -> np.ndarray:
        """Return what each text of a split is to be answered with, (texts, ...)."""

    @abstractmethod
    def model(self, encoder: Backbone, config: Finetune) -> keras.Model:
        """Return the model, not built."""

    @abstractmethod
    def objective(self, config: Finetune) -> Objective:
        """Return what is minimised."""

    def bag(self, config: Finetune) -> NgramBag | None:
        """Return what the linear model beside the Transformer reads; None where there is none."""
        return make_bag(config.ngrams, load_tokenizer(self.tokens / "tokenizer.json"), self.splits["train"])

    def column(self, split: str, name: str = "label") -> pa.Array:
        """Return a column of a split's rows."""
        return pq.read_table(self.folder / f"{split}.parquet", columns=[name])[name].combine_chunks()

    def numbers(self, labels: pa.Array) -> np.ndarray:
        """Return the number of each label, (n,) int32."""
        found: np.ndarray = pc.index_in(labels, pa.array(self.labels, pa.string())).to_numpy(zero_copy_only=False)
        return found.astype(np.int32)
