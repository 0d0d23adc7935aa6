"""How likely a bundle of kind `generation` holds given texts: it is judged, and proven to be whole, by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.bundle import Bundle
from pipeline.data.tokens.packing import PackedRows, pack
from pipeline.data.tokens.sequences import SequenceEncoder
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.training.batches import BatchShape, CompletionBatches, CorpusBatches, TeacherBatches
from pipeline.training.batches.order import RowRandom
from pipeline.training.batches.sequences import widths_of
from pipeline.writing import cleaned_texts, continues

LOGITS_AT_ONCE = 2**22


def surprise(
    bundle: Bundle, texts: Sequence[str], pairs: Sequence[str | None] | None, targets: Sequence[str]
) -> np.ndarray:
    """Return what each target costs the model that reads its text: nats, and tokens with the end, (texts, 2) float32.

    Each token is given the right ones before it, as in training.
    """
    encoder = bundle.encoder
    sequences = SequenceEncoder(encoder, bundle.prompt)
    wanted = bundle.cleaned(targets)
    documents, _ = sequences.sequences(*cleaned_texts(bundle, texts, pairs), wanted, bundle.sequence_length)
    packed = pack(documents, bundle.sequence_length, seed=0, pad=encoder.vocabulary.pad)
    batches, width = _batches(bundle, packed, encoder.vocabulary)
    segments = "segment_ids" if continues(bundle) else "decoder_segment_ids"
    known = bundle.model.backbone.architecture()["vocabulary_size"]
    size = 1 << max(0, (LOGITS_AT_ONCE // (width * known)).bit_length() - 1)
    found = np.zeros((len(texts), 2), np.float64)
    for start in range(0, len(packed), size):
        owners = packed.documents[start : start + size]  # (rows, segments)
        batch = batches.make(_rows(packed, start, size), RowRandom.of([0], BatchShape(size, size)))
        inputs = {name: batch[name] for name in bundle.model.input_shapes}
        logits = np.asarray(bundle.model.predict_on_batch(inputs), np.float64)  # (size, width, vocabulary)
        row, place = np.nonzero(batch["weights"])
        costs = _costs(logits[row, place], batch["targets"][row, place])
        owner = owners[row, batch[segments][row, place] - 1]
        np.add.at(found, owner, np.stack([costs, np.ones_like(costs)], axis=1))
    return found.astype(np.float32)


def _batches(bundle: Bundle, packed: PackedRows, vocabulary: Vocabulary) -> tuple[CorpusBatches, int]:
    """Return what turns packed rows into the model's inputs, and how many tokens a row of its answers has."""
    nothing: Any = None
    shared: dict[str, Any] = {"rows": nothing, "shape": nothing, "vocabulary": vocabulary, "seed": 0}
    if continues(bundle):
        return CompletionBatches(**shared), bundle.sequence_length
    widths = widths_of([(packed.token_ids, packed.segment_ids)], vocabulary.separator)
    return TeacherBatches(**shared, widths=widths), widths[1]


def _rows(packed: PackedRows, start: int, size: int) -> PackedRows:
    """Return so many rows, those behind the last one empty: one size, compiled once."""
    parts = (packed.token_ids, packed.segment_ids, packed.documents)
    taken = [part[start : start + size] for part in parts]
    return PackedRows(*(np.pad(part, ((0, size - len(part)), (0, 0))) for part in taken))


def _costs(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return -log softmax at the targets, (n,), of (n, vocabulary) logits."""
    most = logits.max(axis=-1)
    costs: np.ndarray = np.log(np.exp(logits - most[:, None]).sum(axis=-1)) + most
    costs -= logits[np.arange(len(targets)), targets]
    return costs
