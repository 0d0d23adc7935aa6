"""What a bundle of kind `generation` writes, and how likely it holds texts that are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from models.decoding import Decoding, generate

from models.language_models import CausalLanguageModel
from pipeline.config import Decode
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.packing import PackedRows, pack
from pipeline.data.tokens.sequences import SequenceEncoder
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.progress import Progress, SilentProgress
from pipeline.training.batches import BatchShape, CompletionBatches, CorpusBatches, TeacherBatches
from pipeline.training.batches.order import RowRandom
from pipeline.training.batches.sequences import widths_of

if TYPE_CHECKING:
    from pipeline.bundle import Bundle

PROMPTS_AT_ONCE = 256  # between two reports of progress
LOGITS_AT_ONCE = 2**22
SEED = 0  # of answers that are drawn: the same text is answered in the same way


@dataclass(frozen=True)
class Written:
    """What was written for each text.

    Attributes:
        texts: list of str.
        scores: (texts,) float32. Mean log-probability of the tokens and the end, among those that may be written.
        finished: (texts,) bool. Whether the model came to an end before `max_new_tokens`.
    """

    texts: list[str]
    scores: np.ndarray
    finished: np.ndarray


def write(
    bundle: Bundle, texts: Sequence[str], pairs: Sequence[str | None] | None = None, progress: Progress | None = None
) -> Written:
    """Return what the model writes for each text, or each text and its second text, as its bundle says to decode."""
    progress = progress or SilentProgress()
    encoder = TextEncoder(bundle.tokenizer)
    vocabulary, sequences = encoder.vocabulary, SequenceEncoder(encoder, bundle.prompt)
    # A target has two tokens at least, its end included; so no source that was learned from was longer.
    encode = sequences.prompts if _continues(bundle) else sequences.sources
    prompts = encode(*_cleaned(bundle, texts, pairs), bundle.sequence_length - 2)
    said = [""] * len(texts)
    scores, finished = np.zeros(len(texts), np.float32), np.zeros(len(texts), bool)
    order = np.argsort(prompts.lengths, kind="stable")
    for start in range(0, len(order), PROMPTS_AT_ONCE):
        chosen = order[start : start + PROMPTS_AT_ONCE]
        made = generate(
            bundle.model,
            [prompts[int(number)] for number in chosen],
            Decoding(**(bundle.decode or Decode()).model_dump()),
            start=vocabulary.start,
            end=vocabulary.separator,
            pad=vocabulary.pad,
            seed=SEED,
            vocabulary_size=vocabulary.size,
        )
        for number, tokens in zip(chosen, made.tokens, strict=True):
            said[number] = bundle.tokenizer.decode(tokens.tolist(), skip_special_tokens=True).strip()
        lengths = np.array([len(tokens) for tokens in made.tokens]) + made.finished
        scores[chosen], finished[chosen] = made.scores / np.maximum(lengths, 1), made.finished
        progress.update(min(start + PROMPTS_AT_ONCE, len(order)), len(order))
    return Written(said, scores, finished)


def surprise(
    bundle: Bundle, texts: Sequence[str], pairs: Sequence[str | None] | None, targets: Sequence[str]
) -> np.ndarray:
    """Return what each target costs the model that reads its text: nats, and tokens with the end, (texts, 2) float32.

    Each token is given the right ones before it, as in training.
    """
    encoder = TextEncoder(bundle.tokenizer)
    sequences = SequenceEncoder(encoder, bundle.prompt)
    wanted = bundle.cleaned(targets)
    documents, _ = sequences.sequences(*_cleaned(bundle, texts, pairs), wanted, bundle.sequence_length)
    packed = pack(documents, bundle.sequence_length, seed=0, pad=encoder.vocabulary.pad)
    batches, width = _batches(bundle, packed, encoder.vocabulary)
    segments = "segment_ids" if _continues(bundle) else "decoder_segment_ids"
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


def _continues(bundle: Bundle) -> bool:
    """Return whether the answer continues the prompt, rather than being written beside it."""
    return isinstance(bundle.model, CausalLanguageModel)


def _cleaned(bundle: Bundle, texts: Sequence[str], pairs: Sequence[str | None] | None) -> tuple[Any, Any]:
    return bundle.cleaned(texts), None if pairs is None else bundle.cleaned(pairs)


def _batches(bundle: Bundle, packed: PackedRows, vocabulary: Vocabulary) -> tuple[CorpusBatches, int]:
    """Return what turns packed rows into the model's inputs, and how many tokens a row of its answers has."""
    nothing: Any = None
    shared: dict[str, Any] = {"rows": nothing, "shape": nothing, "vocabulary": vocabulary, "seed": 0}
    if _continues(bundle):
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
