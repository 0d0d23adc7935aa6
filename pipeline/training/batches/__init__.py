"""Batches as pure functions of the step, so that resuming needs no state and costs the same at any step.

A batch is a dictionary of arrays shaped (micro_batches, micro_batch_size, ...); a row number that repeats the end of
the data carries weight 0.
"""

from pipeline.training.batches.causal import CausalBatches
from pipeline.training.batches.grouped import GroupedBatches
from pipeline.training.batches.labelled import AnswerBatches, LabelledBatches, TaggedBatches
from pipeline.training.batches.masked import MaskedBatches
from pipeline.training.batches.order import Batch, Batches, BatchShape, CorpusBatches, shuffled_rows
from pipeline.training.batches.sequences import CompletionBatches, TeacherBatches
from pipeline.training.batches.spans import SpanBatches
from pipeline.training.batches.weighted import WeightedBatches, class_weights

__all__ = [
    "AnswerBatches",
    "Batch",
    "BatchShape",
    "Batches",
    "CausalBatches",
    "CompletionBatches",
    "CorpusBatches",
    "GroupedBatches",
    "LabelledBatches",
    "MaskedBatches",
    "SpanBatches",
    "TaggedBatches",
    "TeacherBatches",
    "WeightedBatches",
    "class_weights",
    "shuffled_rows",
]
