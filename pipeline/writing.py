"""What a bundle of kind `generation` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.decoding import Decoding, generate
from models.language_models import CausalLanguageModel
from pipeline.config import Decode
from pipeline.data.tokens.sequences import SequenceEncoder
from pipeline.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from pipeline.bundle import Bundle

PROMPTS_AT_ONCE = 256  # between two reports of progress
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
    encoder = bundle.encoder
    vocabulary, sequences = encoder.vocabulary, SequenceEncoder(encoder, bundle.prompt)
    # A target has two tokens at least, its end included; so no source that was learned from was longer.
    encode = sequences.prompts if continues(bundle) else sequences.sources
    prompts = encode(*cleaned_texts(bundle, texts, pairs), bundle.sequence_length - 2)
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


def continues(bundle: Bundle) -> bool:
    """Return whether the answer continues the prompt, rather than being written beside it."""
    return isinstance(bundle.model, CausalLanguageModel)


def cleaned_texts(bundle: Bundle, texts: Sequence[str], pairs: Sequence[str | None] | None) -> tuple[Any, Any]:
    """Return texts and second texts as Arrow arrays, as the model learned them; None where there are no second ones."""
    return bundle.cleaned(texts), None if pairs is None else bundle.cleaned(pairs)
