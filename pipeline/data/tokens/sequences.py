"""A text and the text that answers it as one sequence of tokens: what a model that writes learns from.

    start  source  [separator  second text]  separator  target  end

The end is the separator once more. A prompt puts the texts into a sentence of its own first; it names the second text,
or that one stands behind a separator as in tasks of other kinds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.generation import names_in
from pipeline.data.tokens.encode import TextEncoder
from pipeline.data.tokens.ragged import Ragged, join


class SequenceEncoder:
    """Encodes what a model that writes reads, and what it is to write.

    Args:
        encoder: TextEncoder. Of the tokenizer.
        prompt: str or None. With {text}, and {text_pair} perhaps; None: the text itself.
    """

    def __init__(self, encoder: TextEncoder, prompt: str | None = None) -> None:
        self.encoder = encoder
        self.prompt = prompt
        self.separator = encoder.vocabulary.separator

    def sources(self, texts: pa.Array, pairs: pa.Array | None, length: int) -> Ragged:
        """Return what is read, behind the start token; the end of what is longer than `length` is cut off."""
        return _cut(self._sources(texts, pairs), np.full(len(texts), length))

    def prompts(self, texts: pa.Array, pairs: pa.Array | None, length: int) -> Ragged:
        """Return `sources` with the separator that the target follows, `length` tokens at most."""
        sources = self.sources(texts, pairs, length - 1)
        return join(sources, self._separators(np.ones(len(sources), bool), sources))

    def sequences(
        self, texts: pa.Array, pairs: pa.Array | None, targets: pa.Array, length: int
    ) -> tuple[Ragged, tuple[int, int]]:
        """Return whole sequences of at most `length` tokens, and how many sources and targets were cut off.

        A target may take what the source leaves, and half of the length in any case. One that is cut off has no end:
        it does not end there.
        """
        sources, written = self._sources(texts, pairs), self.targets(targets)
        wanted = written.lengths + 1
        room = np.minimum(wanted, np.maximum(length // 2, length - 1 - sources.lengths))
        whole = room == wanted
        kept = _cut(sources, length - 1 - room)
        separators = self._separators(np.ones(len(kept), bool), kept)
        documents = join(
            kept, separators, _cut(written, np.where(whole, wanted - 1, room)), self._separators(whole, kept)
        )
        return documents, (int((kept.lengths < sources.lengths).sum()), int((~whole).sum()))

    def targets(self, targets: pa.Array) -> Ragged:
        """Return the tokens of each text by themselves; of a null none."""
        encoded = self.encoder.encode(pc.fill_null(targets, ""))
        return encoded.slices(encoded.offsets[:-1] + 1, encoded.lengths - 1)

    def behind(self, documents: Ragged, targets: pa.Array) -> Ragged:
        """Return documents with the targets behind a separator, where there are any: as they stand in the corpus."""
        present = pc.is_valid(targets).to_numpy(zero_copy_only=False)
        return join(documents, self._separators(present, documents), self.targets(targets))

    def _sources(self, texts: pa.Array, pairs: pa.Array | None) -> Ragged:
        if self.prompt is None:
            return self.encoder.encode(texts, pairs)
        named = names_in(self.prompt)
        filled = fill(self.prompt, texts.to_pylist(), None if pairs is None else pairs.to_pylist())
        return self.encoder.encode(filled, None if "text_pair" in named else pairs)

    def _separators(self, present: np.ndarray, like: Ragged) -> Ragged:
        offsets = np.concatenate([[0], np.cumsum(present)]).astype(np.int64)
        return Ragged(np.full(offsets[-1], self.separator, like.values.dtype), offsets)


def fill(prompt: str, texts: Sequence[str], pairs: Sequence[str | None] | None) -> list[str]:
    """Return the prompt with each text, and its second text, in the places that it names."""
    seconds = pairs or [None] * len(texts)
    return [prompt.format(text=text, text_pair=pair or "") for text, pair in zip(texts, seconds, strict=True)]


def answers_in(tokens: np.ndarray, segments: np.ndarray, separator: int) -> np.ndarray:
    """Return which tokens of packed sequences are to be written, (rows, seq) bool: target and end.

    They are what stands behind the last separator that does not end its sequence.

    Args:
        tokens: (rows, seq) int.
        segments: (rows, seq) int. 0 where there is no sequence.
        separator: int. Its id.
    """
    width = tokens.shape[1]
    follows = np.pad(segments[:, 1:], ((0, 0), (0, 1)))
    last = (segments > 0) & (segments != follows)
    breaks = (tokens == separator) & (segments > 0) & ~last
    after = np.cumsum(breaks[:, ::-1], axis=1)[:, ::-1]  # breaks from here on, this one included
    ends = np.where(last, np.arange(width), width - 1)
    end = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]  # where the sequence of each token ends
    found: np.ndarray = (segments > 0) & (after == np.take_along_axis(after, end, axis=1))
    return found


def _cut(documents: Ragged, lengths: np.ndarray) -> Ragged:
    return documents.slices(documents.offsets[:-1], np.minimum(documents.lengths, lengths))
